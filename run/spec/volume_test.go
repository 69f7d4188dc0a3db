package spec

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseVolume(t *testing.T) {
	bind := func(source, target string) Mount {
		return Mount{Type: "bind", Source: source, Target: target, CreateSource: true}
	}
	volume := func(name, target string) Mount { return Mount{Type: "volume", Source: name, Target: target} }
	with := func(m Mount, change func(*Mount)) Mount { change(&m); return m }
	for s, want := range map[string]Mount{
		"/a:/b":              bind("/a", "/b"),
		"./a:/b":             bind("./a", "/b"),
		".:/b":               bind(".", "/b"),
		"../a:/b":            bind("../a", "/b"),
		"/a b:/c d":          bind("/a b", "/c d"),
		"/a:/b/../c/":        bind("/a", "/c"),
		"/a:/b:rw":           bind("/a", "/b"),
		"/a:/b:ro":           with(bind("/a", "/b"), func(m *Mount) { m.ReadOnly = true }),
		"/a:/b:rro":          with(bind("/a", "/b"), func(m *Mount) { m.ReadOnly = true }),
		"/a:/b:ro,rslave":    with(bind("/a", "/b"), func(m *Mount) { m.ReadOnly, m.Propagation = true, "rslave" }),
		"/a:/b:shared":       with(bind("/a", "/b"), func(m *Mount) { m.Propagation = "shared" }),
		"/a:/b:bind,U":       with(bind("/a", "/b"), func(m *Mount) { m.NonRecursive, m.Chown = true, true }),
		"/a:/b:nodev,noexec": with(bind("/a", "/b"), func(m *Mount) { m.Options = []string{"nodev", "noexec"} }),
		"/a:/b:cached":       bind("/a", "/b"),
		"/a:/b:delegated,ro": with(bind("/a", "/b"), func(m *Mount) { m.ReadOnly = true }),
		"/v":                 volume("", "/v"),
		"vol:/v":             volume("vol", "/v"),
		"v.o_l-1:/v:ro":      with(volume("v.o_l-1", "/v"), func(m *Mount) { m.ReadOnly = true }),
		"vol:/v:nocopy,U":    with(volume("vol", "/v"), func(m *Mount) { m.NoCopy, m.Chown = true, true }),
	} {
		if got, err := ParseVolume(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestParseVolumeRefused(t *testing.T) {
	refused(t, ParseVolume, map[string]string{
		"":                    "want [SOURCE:]DESTINATION",
		":":                   "want [SOURCE:]DESTINATION",
		":/b":                 "want [SOURCE:]DESTINATION",
		"/a:":                 "want [SOURCE:]DESTINATION",
		"/a:/b:ro:x":          "want [SOURCE:]DESTINATION",
		"/a:/b\x00":           "want [SOURCE:]DESTINATION",
		"/b:ro":               "options without a source",
		"/a:/b:":              `option "": unknown`,
		"/a:/b:ro,":           `option "": unknown`,
		"/a:/b:rw,fast":       `option "fast": unknown`,
		"/a:/b:ro,rw":         "another one of its kind",
		"/a:/b:slave,private": "another one of its kind",
		"/a:/b:exec,noexec":   "another one of its kind",
		"/a:/b:z":             "SELinux",
		"/a:/b:Z,ro":          "SELinux",
		"/a:/b:O":             `"O" is not supported`,
		"/a:/b:idmap=1":       "not supported",
		"/a:b":                `destination "b": want an absolute path`,
		"b":                   "absolute",
		"/a:/":                "hide the root",
		"/a:/x/..":            "hide the root",
		"~/a:/b":              "neither a volume's name",
		"a/b:/c":              "begins with / or ./",
		"v:/c":                "two at least",
		"-v:/c":               "neither",
		"/a:/b:nocopy":        "for volumes",
		"vol:/b:rshared":      "not for volumes",
		"vol:/b:bind":         "not for volumes",
	})
}

// refused wants an ErrInvalid of one line, with a certain text, for each.
func refused[T any](t *testing.T, parse func(string) (T, error), cases map[string]string) {
	t.Helper()
	for s, text := range cases {
		got, err := parse(s)
		switch {
		case err == nil, !errors.Is(err, ErrInvalid):
			t.Errorf("%q: %+v, %v; want an ErrInvalid", s, got, err)
		case !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: %v; want one line with %q", s, err, text)
		case !reflect.ValueOf(got).IsZero():
			t.Errorf("%q: %+v beside an error", s, got)
		}
	}
}

func TestParseMount(t *testing.T) {
	for s, want := range map[string]Mount{
		"type=bind,source=/a,target=/b":                                 {Type: "bind", Source: "/a", Target: "/b"},
		" type=bind,src=./a,dst=/b/ ":                                   {Type: "bind", Source: "./a", Target: "/b"},
		"TYPE=Bind,Src=/a,Destination=/b":                               {Type: "bind", Source: "/a", Target: "/b"},
		`type=bind,"src=/a,c",dst=/b`:                                   {Type: "bind", Source: "/a,c", Target: "/b"},
		`type=bind,"src=/a""c",dst=/b`:                                  {Type: "bind", Source: `/a"c`, Target: "/b"},
		"type=bind,src=/a=c,dst=/b,readonly":                            {Type: "bind", Source: "/a=c", Target: "/b", ReadOnly: true},
		"type=bind,src=/a,dst=/b,ro=0":                                  {Type: "bind", Source: "/a", Target: "/b"},
		"type=bind,src=/a,dst=/b,rro":                                   {Type: "bind", Source: "/a", Target: "/b", ReadOnly: true},
		"type=bind,src=/a,dst=/b,readonly=true,bind-recursive=writable": {Type: "bind", Source: "/a", Target: "/b", ReadOnly: true, ReadOnlyTop: true},
		"type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate":           {Type: "bind", Source: "/a", Target: "/b", ReadOnly: true, Propagation: "rprivate"},
		"type=bind,src=/a,dst=/b,bind-recursive=disabled":                                              {Type: "bind", Source: "/a", Target: "/b", NonRecursive: true},
		"type=bind,src=/a,dst=/b,bind-recursive=enabled,bind-create-src,consistency=cached,chown=true": {Type: "bind", Source: "/a", Target: "/b", CreateSource: true, Chown: true},
		"type=bind,src=/a,dst=/b,bind-nonrecursive=false,bind-propagation=RSLAVE":                      {Type: "bind", Source: "/a", Target: "/b", Propagation: "rslave"},
		"dst=/b": {Type: "volume", Target: "/b"},
		"src=vol,dst=/b,volume-nocopy,volume-subpath=a/b,volume-driver=local": {Type: "volume", Source: "vol", Target: "/b", NoCopy: true, Subpath: "a/b"},
		"type=tmpfs,dst=/t":                                {Type: "tmpfs", Target: "/t"},
		"type=tmpfs,dst=/t,tmpfs-size=0":                   {Type: "tmpfs", Target: "/t"},
		"type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=01777": {Type: "tmpfs", Target: "/t", Options: []string{"mode=1777", "size=1048576"}},
		"type=tmpfs,dst=/t,tmpfs-mode=7777":                {Type: "tmpfs", Target: "/t", Options: []string{"mode=7777"}},
		"type=tmpfs,dst=/t,ro":                             {Type: "tmpfs", Target: "/t", ReadOnly: true},
	} {
		if got, err := ParseMount(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestParseMountRefused(t *testing.T) {
	const b = "type=bind,src=/a,dst=/b,"
	refused(t, ParseMount, map[string]string{
		"":                            "empty",
		"\n":                          "empty",
		`"type=bind`:                  `"`,
		"dst=/a\ndst=/b":              "more than one line",
		"type=bind, src=/a,dst=/b":    "no spaces",
		"type=bind,src= /a,dst=/b":    "no spaces",
		"type=bind,src=,dst=/b":       "no value",
		"type=bind,src,dst=/b":        "want KEY=VALUE",
		b:                             "want KEY=VALUE",
		b + "source=/c":               "given before",
		b + "ro,readonly":             "given before",
		b + "ro=maybe":                "true or false",
		b + "fast=1":                  "unknown key",
		b + "relabel=shared":          "relabel is not supported",
		b + "bind-propagation=both":   "want private",
		b + "bind-recursive=yes":      "want enabled",
		b + "bind-recursive=readonly": "want readonly with it",
		b + "bind-recursive=writable": "want readonly with it",
		b + "ro,bind-recursive=readonly,bind-propagation=shared": "want bind-propagation=rprivate",
		b + "bind-recursive=disabled,bind-nonrecursive":          "exclude each other",
		b + "volume-nocopy":                      "is for type=volume",
		b + "tmpfs-size=1m":                      "is for type=tmpfs",
		b + "consistency=some":                   "want default, consistent",
		"type=bind,dst=/b":                       "source: missing",
		"type=bind,src=a,dst=/b":                 "begins with / or ./",
		"type=bind,src=/a":                       "target: missing",
		"type=bind,src=/a,dst=b":                 "absolute",
		"type=bind,src=/a,dst=/":                 "hide the root",
		"type=image,src=alpine,dst=/b":           "image is not supported",
		"type=disk,src=/a,dst=/b":                `type "disk": want bind`,
		"dst=/b,bind-propagation=rslave":         "is for type=bind",
		"dst=/b,readonly":                        "anonymous volume can't be read-only",
		"dst=/b,volume-subpath=a":                "anonymous volume has no subpath",
		"src=vol,dst=/b,volume-subpath=../a":     "without ..",
		"src=vol,dst=/b,volume-subpath=/a":       "without ..",
		"src=vol,dst=/b,volume-driver=nfs":       "want local",
		"src=vol,dst=/b,volume-opt=o=addr":       "volume-opt is not supported",
		"src=/vol,dst=/b":                        "neither a volume's name",
		"type=tmpfs,src=/a,dst=/b":               "no source",
		"type=tmpfs,dst=/b,tmpfs-size=big":       "as in 512m",
		"type=tmpfs,dst=/b,tmpfs-mode=888":       "octal",
		"type=tmpfs,dst=/b,tmpfs-mode=77777":     "octal",
		"type=tmpfs,dst=/b,U":                    "no source",
		"type=bind,src=/a\x00,dst=/b":            "begins with",
		"type=bind,src=/a,dst=/b\x00":            "absolute",
		"type=bind,src=vol,dst=/b,volume-nocopy": "is for type=volume",
	})
}

func TestParseTmpfs(t *testing.T) {
	for s, want := range map[string]string{
		"/t":                          "noexec nosuid nodev rprivate",
		"/t:":                         "noexec nosuid nodev rprivate",
		"/t:rw,size=1m":               "noexec nosuid nodev rprivate rw size=1m",
		"/t:mode=7777,uid=4294967294": "noexec nosuid nodev rprivate mode=7777 uid=4294967294",
		"/t:exec,size=50%":            "nosuid nodev rprivate exec size=50%",
		"/t:suid,dev,exec,ro":         "rprivate suid dev exec ro",
		"/t:size=1m,size=2M":          "noexec nosuid nodev rprivate size=2M",
		"/t:mode=1777,uid=0,ro,rw":    "noexec nosuid nodev rprivate mode=1777 uid=0 rw",
		"/t:nr_inodes=1k,mpol=interleave:0-1,noatime,notmpcopyup": "noexec nosuid nodev rprivate nr_inodes=1k mpol=interleave:0-1 noatime notmpcopyup",
		"/t:relatime,strictatime,private,nodiratime":              "noexec nosuid nodev strictatime private nodiratime",
	} {
		m, err := ParseTmpfs(s)
		if err != nil || m.Type != "tmpfs" || m.Target != "/t" {
			t.Errorf("%q: %+v, %v", s, m, err)
			continue
		}
		if got, err := m.oci(); err != nil || strings.Join(got.Options, " ") != want || got.Type != "tmpfs" {
			t.Errorf("%q: %+v, %v; want %s", s, got, err, want)
		}
	}
	refused(t, ParseTmpfs, map[string]string{
		"": "absolute", "t": "absolute", "/": "hide the root", "/t:size": "no valid size", "/t:size=": "no valid size",
		"/t:size=1mb": "no valid size", "/t:size=-1": "no valid size", "/t:size=%": "no valid size", "/t:nr_inodes=5%": "no valid nr_inodes",
		"/t:mode=9": "no valid mode", "/t:mode=10000": "no valid mode", "/t:uid=root": "no valid uid", "/t:gid=4294967295": "no valid gid", "/t:mpol=a b": "no valid mpol",
		"/t:fast": "unknown", "/t:,": "unknown", "/t:tmpcopyup": "not supported", "/t:rshared": "unknown", "/t:context=x": "unknown",
	})
}

func TestVolumesInSpec(t *testing.T) {
	host := func(m Mount, err error) Mount {
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != "tmpfs" {
			m.HostPath = "/host"
		}
		return m
	}
	bind := func(target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "bind", Source: "/host", Options: options}
	}
	for _, tt := range []struct {
		m    Mount
		want specs.Mount
	}{
		{host(ParseVolume("./a:/b")), bind("/b", "rbind", "rprivate")},
		{host(ParseVolume("/a:/b:ro")), bind("/b", "rbind", "rro", "rprivate")},
		{host(ParseVolume("/a:/b:ro,bind")), bind("/b", "bind", "ro", "rprivate")},
		{host(ParseVolume("/a:/b:rslave,nodev")), bind("/b", "rbind", "nodev", "rslave")},
		{host(ParseVolume("vol:/b:ro")), bind("/b", "rbind", "rro", "rprivate")},
		{host(ParseVolume("/b")), bind("/b", "rbind", "rprivate")},
		{host(ParseMount("type=bind,src=/a,dst=/b,ro,bind-recursive=writable")), bind("/b", "rbind", "ro", "rprivate")},
		{host(ParseMount("type=tmpfs,dst=/b,ro,tmpfs-size=1k")), specs.Mount{Destination: "/b", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"noexec", "nosuid", "nodev", "rprivate", "ro", "size=1024"}}},
	} {
		img, files, o := alpine()
		o.Volumes = []Mount{tt.m}
		s := mustNew(t, img, files, o)
		if got := s.Mounts[len(s.Mounts)-1]; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v: %+v, want %+v", tt.m, got, tt.want)
		}
		if len(s.Mounts) != len(defaultMounts(0))+1 || s.Linux.RootfsPropagation != "" {
			t.Errorf("%+v: %d mounts, root %q", tt.m, len(s.Mounts), s.Linux.RootfsPropagation)
		}
	}
}

// TestMountOrder: parents first, the user's instead of the caller's instead of
// the default ones.
func TestMountOrder(t *testing.T) {
	img, files, o := alpine()
	o.Mounts = []specs.Mount{{Destination: "/etc/hosts", Type: "bind", Source: "/run/hosts"}, {Destination: "/etc/hostname", Type: "bind", Source: "/run/hostname"}}
	o.Volumes = []Mount{
		{Type: "bind", Source: "/x", HostPath: "/x", Target: "/a/b/c"},
		{Type: "bind", Source: "/x", HostPath: "/x", Target: "/a"},
		{Type: "bind", Source: "/x", HostPath: "/mine", Target: "/etc/hosts"},
		{Type: "bind", Source: "/x", HostPath: "/x", Target: "/etc"},
		{Type: "tmpfs", Target: "/dev"},
	}
	var got []string
	for _, m := range mustNew(t, img, files, o).Mounts {
		got = append(got, m.Destination+"="+m.Source)
	}
	want := "/proc=proc /sys=sysfs /sys/fs/cgroup=cgroup /a=/x /etc=/x /dev=tmpfs /etc/hostname=/run/hostname /etc/hosts=/mine /a/b/c=/x"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}
