package spec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const passwd = `# comment:x:9:9::/:
root:x:0:0:root:/root:/bin/sh

app:x:1000:1001:app:/home/app:/bin/sh
twin:x:1000:1002::/home/twin:
nohome:x:1003:1003
4294967296:x:0:0::/trap:
1234:x:0:0::/trap:
-1:x:7:7::/minus:
bad:x:big:0::/bad:
badgid:x:1005:4294967295::/bad:
neg:x:-1:0::/bad:
short
last:x:4294967294:4294967294::/last:`

const group = `root:x:0:root
adm:x:4:root,app
app:x:1001:app
dup:x:4:app
wheel:x:10:root,app
badgid:x:no:app
4294967296:x:0:
nomembers:x:11`

func TestParseUser(t *testing.T) {
	files := Files{Passwd: []byte(passwd), Group: []byte(group)}
	for _, tt := range []struct {
		user, home string
		uid, gid   uint32
		gids       []uint32
	}{
		{"", "/root", 0, 0, []uint32{0, 4, 10}},
		{"0", "/root", 0, 0, []uint32{0, 4, 10}},
		{"root", "/root", 0, 0, []uint32{0, 4, 10}},
		{"app", "/home/app", 1000, 1001, []uint32{1001, 4, 10}},
		{"1000", "/home/app", 1000, 1001, []uint32{1001, 4, 10}}, // the first of the twins
		{"0001000", "/home/app", 1000, 1001, []uint32{1001, 4, 10}},
		{"twin", "/home/twin", 1000, 1002, []uint32{1002}},
		{"nohome", "/", 1003, 1003, []uint32{1003}},
		{"app:", "/home/app", 1000, 1001, []uint32{1001, 4, 10}},
		{"app:wheel", "/home/app", 1000, 10, []uint32{10}},
		{"app:77", "/home/app", 1000, 77, []uint32{77}},
		{"app:nomembers", "/home/app", 1000, 11, []uint32{11}},
		{"9", "/", 9, 0, []uint32{0}}, // a comment is no entry
		{"2000", "/", 2000, 0, []uint32{0}},
		{"2000:3000", "/", 2000, 3000, []uint32{3000}},
		{"1234", "/", 1234, 0, []uint32{0}}, // a number, though there is such a name
		{"-1", "/minus", 7, 7, []uint32{7}}, // a name, and a legal one to have
		{"4294967294", "/last", 4294967294, 4294967294, []uint32{4294967294}},
	} {
		got, home, err := ParseUser(tt.user, files)
		want := specs.User{UID: tt.uid, GID: tt.gid, AdditionalGids: tt.gids}
		if err != nil || !reflect.DeepEqual(got, want) || home != tt.home {
			t.Errorf("ParseUser(%q) = %+v, %q, %v; want %+v, %q", tt.user, got, home, err, want, tt.home)
		}
	}
}

func TestParseUserRefused(t *testing.T) {
	files := Files{Passwd: []byte(passwd), Group: []byte(group)}
	for _, tt := range []struct{ user, text string }{
		{"4294967295", "0..4294967294"},           // would mean "no change"
		{"4294967296", "0..4294967294"},           // CVE-2024-40635: wraps to 0
		{"18446744073709551616", "0..4294967294"}, // CVE-2026-46680: looked up as a name
		{"1000:4294967295", "0..4294967294"},
		{"1000:4294967296", "0..4294967294"},
		{":5", "before the colon"},
		{":", "before the colon"},
		{"nosuch", "not in the image's /etc/passwd"},
		{"+5", "not in the image's /etc/passwd"},
		{"0x0", "not in the image's /etc/passwd"},
		{"٣", "not in the image's /etc/passwd"},
		{"app ", "not in the image's /etc/passwd"},
		{"# comment", "not in the image's /etc/passwd"},
		{"app:nosuch", "not in the image's /etc/group"},
		{"a:b:c", "not in"},
		{"app:wheel:x", "not in the image's /etc/group"},
		{"bad", "no valid uid"},
		{"badgid", "no valid uid"},
		{"1005", "no valid uid"},
		{"neg", "no valid uid"},
		{"short", "no valid uid"}, // and not root by an empty field
		{"app:badgid", "no valid gid"},
	} {
		got, _, err := ParseUser(tt.user, files)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("ParseUser(%q) = %+v, %v; want an error with %q", tt.user, got, err, tt.text)
		}
	}
}

func TestParseUserWithoutFiles(t *testing.T) {
	for user, want := range map[string]specs.User{
		"":     {AdditionalGids: []uint32{0}},
		"5":    {UID: 5, AdditionalGids: []uint32{0}},
		"5:6":  {UID: 5, GID: 6, AdditionalGids: []uint32{6}},
		"root": {},
		"5:x":  {},
	} {
		got, home, err := ParseUser(user, Files{})
		if named := strings.ContainsAny(user, "rx"); named {
			if err == nil || !strings.Contains(err.Error(), "the image has no /etc/") {
				t.Errorf("ParseUser(%q) = %+v, %v; want an error", user, got, err)
			}
		} else if err != nil || home != "/" || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseUser(%q) = %+v, %q, %v; want %+v", user, got, home, err, want)
		}
	}
}

// TestManyGroups is CVE-2026-47262 and the kernel's NGROUPS_MAX.
func TestManyGroups(t *testing.T) {
	file := func(n int) Files {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "g%d:x:%d:root\n", i, i)
		}
		return Files{Passwd: []byte("root:x:0:0::/:"), Group: []byte(b.String())}
	}
	if u, _, err := ParseUser("root", file(maxGroups)); err != nil || len(u.AdditionalGids) != maxGroups {
		t.Errorf("%d groups: got %d, %v", maxGroups, len(u.AdditionalGids), err)
	}
	if _, _, err := ParseUser("root", file(maxGroups+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("%d groups: %v, want an error", maxGroups+1, err)
	}
	img, _, o := alpine()
	o.GroupAdd = []string{"100000"}
	if _, err := New(img, file(maxGroups), o); !errors.Is(err, ErrInvalid) {
		t.Errorf("one group too many by GroupAdd: %v, want an error", err)
	}
}

// TestColons: a line of nothing but colons must not cost its length in fields.
func TestColons(t *testing.T) {
	for fields := range records([]byte(strings.Repeat(":", 1<<20))) {
		if len(fields) != maxFields {
			t.Errorf("%d fields, want %d", len(fields), maxFields)
		}
	}
}
