package spec

import (
	"errors"
	"io/fs"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseEnvFile(t *testing.T) {
	caller := map[string]string{"HOME": "/me", "EMPTY": ""}
	lookup := func(name string) (string, bool) { v, ok := caller[name]; return v, ok }
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"A=1", "A=1"},
		{"A=1\nB=2\n", "A=1|B=2"},
		{"\xef\xbb\xbfA=1\n", "A=1"},
		{"A=\"q q\"  \nB='x'\n", "A=\"q q\"  |B='x'"}, // what docker 28.2 makes of it
		{"  \t A=1\n\n   \n#B=2\n  # C=3\nD=4#5\n", "A=1|D=4#5"},
		{"A=1\r\nB=\r\n", "A=1|B="},
		{"HOME\nNOSUCH\nEMPTY\n", "HOME=/me|EMPTY="},
		{"A=b=c\nA=\n", "A=b=c|A="},
		{"A.b-c/d=ä\n", "A.b-c/d=ä"},
	} {
		got, err := ParseEnvFile([]byte(tt.in), lookup)
		if err != nil || strings.Join(got, "|") != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
	for in, text := range map[string]string{
		"A=1\n=x\n":                  "line 2: no name",
		"\n\nexport A=1":             `line 3: the name "export A" has a space`,
		"A =1":                       "line 1: the name",
		"A\t=1":                      "line 1: the name",
		"A=1\nB=\xff":                "line 2: not text",
		"A=\x00":                     "line 1: not text",
		"\xff\xfeA\x00=\x001\x00":    "line 1: not text", // UTF-16
		"A=1\n\xef\xbb\xbfB=1\n=x\n": "line 3",
	} {
		if got, err := ParseEnvFile([]byte(in), lookup); got != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %q, %v; want %q", in, got, err, text)
		}
	}
	if got, err := ParseEnvFile([]byte("a\nb=c"), nil); err != nil || !slices.Equal(got, []string{"a", "b=c"}) {
		t.Errorf("labels: %q, %v", got, err)
	}
}

func TestParseLabel(t *testing.T) {
	for s, want := range map[string][2]string{"a": {"a", ""}, "a=": {"a", ""}, "a.b=c=d e": {"a.b", "c=d e"}} {
		if name, value, err := ParseLabel(s); err != nil || [2]string{name, value} != want {
			t.Errorf("%q: %q, %q, %v", s, name, value, err)
		}
	}
	for _, s := range []string{"", "=x", "a b=c", "a\n=c", "a=\x00"} {
		if name, value, err := ParseLabel(s); !errors.Is(err, ErrInvalid) || name+value != "" {
			t.Errorf("%q: %q, %q, %v", s, name, value, err)
		}
	}
}

func TestParseUlimit(t *testing.T) {
	const none = math.MaxUint64
	for s, want := range map[string]specs.POSIXRlimit{
		"nofile=1024:2048": {Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 2048},
		"nofile=5":         {Type: "RLIMIT_NOFILE", Soft: 5, Hard: 5},
		"core=-1":          {Type: "RLIMIT_CORE", Soft: none, Hard: none},
		"core=0":           {Type: "RLIMIT_CORE"},
		"nproc=5:-1":       {Type: "RLIMIT_NPROC", Soft: 5, Hard: none},
		"rttime=1:1":       {Type: "RLIMIT_RTTIME", Soft: 1, Hard: 1},
	} {
		if got, err := ParseUlimit(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	refused(t, ParseUlimit, map[string]string{
		"": "NAME=SOFT", "nofile": "NAME=SOFT", "files=1": "name of ulimit(1)", "NOFILE=1": "NAME=SOFT", "=1": "NAME=SOFT",
		"nofile=": "numbers", "nofile=1:": "numbers", "nofile=:1": "numbers", "nofile=1:2:3": "numbers", "nofile=-2": "numbers", "nofile=1k": "numbers",
		"nofile=9223372036854775808": "numbers", "nofile=+1": "numbers", "nofile=2:1": "above the hard", "nofile=-1:5": "above the hard",
	})
}

func TestParseDevice(t *testing.T) {
	host := map[string][]specs.LinuxDevice{
		"/dev/fuse": {{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}},
		"/dev/snd":  {{Path: "/dev/snd/timer", Type: "c", Major: 116, Minor: 33}, {Path: "/dev/snd/x/seq", Type: "c", Major: 116, Minor: 1}},
		"/dev/dir":  nil,
	}
	stat := func(name string) ([]specs.LinuxDevice, error) {
		list, ok := host[name]
		if !ok {
			return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
		}
		return list, nil
	}
	for s, want := range map[string]string{
		"/dev/fuse":             "/dev/fuse:rwm",
		"/dev/fuse:rw":          "/dev/fuse:rw",
		"/dev/fuse:/dev/x":      "/dev/x:rwm",
		"/dev/fuse:/dev/x:r":    "/dev/x:r",
		"/dev/fuse:/dev/../x:m": "/x:m",
		"/dev/snd":              "/dev/snd/timer:rwm /dev/snd/x/seq:rwm",
		"/dev/snd:/dev/s":       "/dev/s/timer:rwm /dev/s/x/seq:rwm",
	} {
		got, err := ParseDevice(s, stat)
		var list []string
		for _, d := range got {
			list = append(list, d.Path+":"+d.Access)
		}
		if err != nil || strings.Join(list, " ") != want {
			t.Errorf("%q: %q, %v; want %q", s, list, err, want)
		}
	}
	refused(t, func(s string) ([]Device, error) { return ParseDevice(s, stat) }, map[string]string{
		"": "want SOURCE", "fuse": "want SOURCE", "/dev/fuse:x": "want SOURCE", "/dev/fuse:": "want SOURCE", "/dev/fuse:/dev/x:": "want SOURCE",
		"/dev/fuse:/dev/x:rr": "want SOURCE", "/dev/fuse:/dev/x:rwx": "want SOURCE", "/dev/fuse:/dev/x:rw:z": "want SOURCE", "/dev/fuse\x00": "want SOURCE",
		"/dev/dir": "neither a device",
	})
	if _, err := ParseDevice("/dev/nosuch", stat); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing device: %v", err)
	}
}

func TestParseSysctl(t *testing.T) {
	for s, want := range map[string][2]string{
		"net.ipv4.ip_forward=1":           {"net.ipv4.ip_forward", "1"},
		"kernel.sem=250 32000 32 128":     {"kernel.sem", "250 32000 32 128"},
		"kernel.shm_rmid_forced=1":        {"kernel.shm_rmid_forced", "1"},
		"fs.mqueue.msg_max=a=b":           {"fs.mqueue.msg_max", "a=b"},
		"kernel.domainname=example.org":   {"kernel.domainname", "example.org"},
		"net.ipv6.conf.eth0-x.mtu_x=1280": {"net.ipv6.conf.eth0-x.mtu_x", "1280"},
	} {
		if name, value, err := ParseSysctl(s); err != nil || [2]string{name, value} != want {
			t.Errorf("%q: %q, %q, %v", s, name, value, err)
		}
	}
	parse := func(s string) (string, error) { name, value, err := ParseSysctl(s); return name + value, err }
	refused(t, parse, map[string]string{
		"": "NAME=VALUE", "kernel.shmmax": "NAME=VALUE", "kernel.shmmax=": "NAME=VALUE", "=1": "with dots",
		"net/ipv4/ip_forward=1": "with dots", "net..x=1": "with dots", "net.=1": "with dots", "net.a/../../vm.x=1": "with dots", "net.x =1": "with dots",
		"kernel.panic=1": "it is the host's", "vm.swappiness=1": "it is the host's", "fs.mqueue=1": "it is the host's", "net=1": "it is the host's",
		"user.max_user_namespaces=1": "it is the host's", "kernel.shmmaxx=1": "it is the host's",
		"kernel.hostname=x": "use --hostname", "net.x=1\n2": "line's end", "net.x=\x00": "NUL",
	})
}

func TestParseSecurityOpt(t *testing.T) {
	for _, tt := range []struct {
		opts string
		want Security
	}{
		{"", Security{}},
		{"no-new-privileges", Security{NoNewPrivileges: true}},
		{"no-new-privileges:true", Security{NoNewPrivileges: true}},
		{"no-new-privileges no-new-privileges=false", Security{}},
		{"seccomp=unconfined", Security{Seccomp: "unconfined"}},
		{"seccomp:unconfined", Security{Seccomp: "unconfined"}},
		{"seccomp=./a:b.json", Security{Seccomp: "./a:b.json"}},
		{"seccomp=x.json seccomp=builtin", Security{}},
		{"apparmor=unconfined label=disable label:disable", Security{}},
		{"unmask=ALL", Security{Unmask: []string{"ALL"}}},
		{"systempaths=unconfined", Security{Unmask: []string{"ALL"}}},
		{"unmask=/proc/acpi:/sys/firmware/ unmask=/proc/*", Security{Unmask: []string{"/proc/acpi", "/sys/firmware", "/proc/*"}}},
		{"mask=/a:/b", Security{Mask: []string{"/a", "/b"}}},
		{"writable-cgroups=true", Security{WritableCgroups: true}},
	} {
		var got Security
		for opt := range strings.FieldsSeq(tt.opts) {
			if err := ParseSecurityOpt(opt, &got); err != nil {
				t.Errorf("%q: %v", opt, err)
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, want %+v", tt.opts, got, tt.want)
		}
	}
	parse := func(s string) (int, error) { return 0, ParseSecurityOpt(s, &Security{}) }
	refused(t, parse, map[string]string{
		"": "unknown", "foo": "unknown", "=": "unknown", "no-new-privileges=maybe": "true or false", "seccomp": "file of a profile", "seccomp=": "file of a profile",
		"apparmor=docker-default": "AppArmor profiles are not supported", "label=type:x": "SELinux labels are not supported", "label": "SELinux",
		"unmask=": "absolute paths", "unmask=proc": "absolute paths", "unmask=/a:": "absolute paths", "unmask=/[": "absolute paths", "unmask=all": "absolute paths",
		"mask=ALL": "absolute paths", "mask=/a\x00": "absolute paths", "systempaths=x": "want unconfined", "proc-opts=hidepid=2": "unknown",
	})
}

func TestParseAddHost(t *testing.T) {
	for s, want := range map[string]string{
		"db:1.2.3.4": "1.2.3.4\tdb", "db=1.2.3.4": "1.2.3.4\tdb", "db:::1": "::1\tdb", "db:[::1]": "::1\tdb", "db=[fe80::1]": "fe80::1\tdb",
		"my_db.example.org:10.0.0.1": "10.0.0.1\tmy_db.example.org",
	} {
		if got, err := ParseAddHost(s); err != nil || got != want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	refused(t, ParseAddHost, map[string]string{
		"": "NAME:IP", "db": "NAME:IP", "db:": "NAME:IP", ":1.2.3.4": "NAME:IP", "db:1.2.3": "NAME:IP", "db:01.2.3.4": "NAME:IP", "db:[::1": "NAME:IP",
		"a b:1.2.3.4": "NAME:IP", "a\n8.8.8.8\tbank:1.2.3.4": "NAME:IP", "-a:1.2.3.4": "NAME:IP", "db:fe80::1%x\n1.2.3.4 bank": "NAME:IP",
		"db:host-gateway": "host-gateway is not supported", "db=host-gateway": "host-gateway is not supported",
	})
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]int{
		"TERM": 15, "SIGTERM": 15, "sigterm": 15, "15": 15, "HUP": 1, "SIGSYS": 31, "KILL": 9, "1": 1, "64": 64, "CHLD": 17, "IO": 29,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX": 64, "SIGRTMAX-14": 50, "rtmin+30": 64, "RTMAX-30": 34, "STKFLT": 16, "009": 9,
	} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	cases := map[string]string{}
	for _, s := range []string{"", "SIG", "FOO", "0", "65", "-1", "+1", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31", "RTMIN+", "RTMIN+-1", "RTMIN3", "SIGSIGTERM", "99999999999999999999", "TERM "} {
		cases[s] = "as in SIGTERM"
	}
	refused(t, ParseSignal, cases)
}

func TestParseSmall(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "10": 10 * time.Second, "-1": -1, "2147483647": (1<<31 - 1) * time.Second} {
		if got, err := ParseSeconds(s); err != nil || got != want {
			t.Errorf("seconds %q: %v, %v", s, got, err)
		}
	}
	refused(t, ParseSeconds, map[string]string{"": "seconds", "-2": "seconds", "1s": "seconds", "1.5": "seconds", "2147483648": "seconds"})
	for s, want := range map[string]uint32{"0022": 0o22, "22": 0o22, "777": 0o777, "0": 0} {
		if got, err := ParseUmask(s); err != nil || got != want {
			t.Errorf("umask %q: %o, %v", s, got, err)
		}
	}
	refused(t, ParseUmask, map[string]string{"": "octal", "8": "octal", "1000": "octal", "-1": "octal", "0o22": "octal"})
	for s, want := range map[string]string{
		"local": "/etc/localtime", "UTC": "/usr/share/zoneinfo/UTC", "Europe/Berlin": "/usr/share/zoneinfo/Europe/Berlin",
		"Etc/GMT+5": "/usr/share/zoneinfo/Etc/GMT+5", "America/Argentina/Buenos_Aires": "/usr/share/zoneinfo/America/Argentina/Buenos_Aires",
	} {
		if got, err := ParseZone(s); err != nil || got != want {
			t.Errorf("zone %q: %q, %v", s, got, err)
		}
	}
	refused(t, ParseZone, map[string]string{"": "zone", "/etc/shadow": "zone", "../../etc/shadow": "zone", "a/../b": "zone", "a//b": "zone", ".": "zone", "a b": "zone", "a\x00": "zone", "a/": "zone"})
}

func TestWithUser(t *testing.T) {
	_, files, _ := alpine()
	known, _, err := ParseUser("bin", files)
	if err != nil {
		t.Fatal(err)
	}
	if got := files.WithUser(known); !reflect.DeepEqual(got, files) {
		t.Errorf("changed for a user it has: %s", got.Passwd)
	}
	stranger := specs.User{UID: 1234, GID: 77}
	got := files.WithUser(stranger)
	for _, tt := range []struct{ name, got, want string }{
		{"passwd", string(got.Passwd), string(files.Passwd) + "1234:*:1234:77:container user:/:/bin/sh\n"},
		{"group", string(got.Group), string(files.Group) + "77:x:77:\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q", tt.name, tt.got)
		}
	}
	if u, home, err := ParseUser("1234", got); err != nil || u.UID != 1234 || u.GID != 77 || home != "/" {
		t.Errorf("read again: %+v, %q, %v", u, home, err)
	}
	if got := (Files{}).WithUser(stranger); got.Passwd != nil || got.Group != nil {
		t.Errorf("made files that the image does not have: %+v", got)
	}
	if got := (Files{Passwd: []byte("a:x:1:1::/:"), Group: []byte{}}).WithUser(stranger); !strings.HasPrefix(string(got.Passwd), "a:x:1:1::/:\n1234:") || string(got.Group) != "77:x:77:\n" {
		t.Errorf("without a line's end: %q, %q", got.Passwd, got.Group)
	}
}

func TestResolvConf(t *testing.T) {
	host := "# c\n\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.org b.org\noptions ndots:5\nsortlist 1.2.3.4"
	for _, tt := range []struct {
		dns  DNS
		want string
	}{
		{DNS{}, host + "\n"},
		{DNS{Servers: []string{"1.1.1.1", "::1"}}, "# c\n\nsearch a.org b.org\noptions ndots:5\nsortlist 1.2.3.4\nnameserver 1.1.1.1\nnameserver ::1\n"},
		{DNS{Search: []string{"c.org", "d"}}, "# c\n\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\nsortlist 1.2.3.4\nsearch c.org d\n"},
		{DNS{Search: []string{"."}}, "# c\n\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\nsortlist 1.2.3.4\n"},
		{DNS{Options: []string{"timeout:1", "rotate"}}, "# c\n\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.org b.org\nsortlist 1.2.3.4\noptions timeout:1 rotate\n"},
	} {
		if got := string((Options{DNS: tt.dns}).ResolvConf([]byte(host))); got != tt.want {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.dns, got, tt.want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	host := []byte("127.0.0.1 localhost\n10.0.0.1 me\n\n")
	o := Options{ID: "id"}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"host's network", func(o *Options) {}, "127.0.0.1 localhost\n10.0.0.1 me\n127.0.0.1\tid\n"},
		{"no network", func(o *Options) { o.Network = "none" }, localHosts + "127.0.0.1\tid\n"},
		{"names", func(o *Options) { o.Network, o.Hostname, o.Domainname = "none", "h", "d.org" }, localHosts + "127.0.0.1\th.d.org h\n"},
		{"host's name", func(o *Options) { o.Namespaces.UTS = "host" }, "127.0.0.1 localhost\n10.0.0.1 me\n"},
		{"added", func(o *Options) { o.AddHosts = []string{"1.2.3.4\tme"} }, "1.2.3.4\tme\n127.0.0.1 localhost\n10.0.0.1 me\n127.0.0.1\tid\n"},
	} {
		o := o
		tt.change(&o)
		if got := string(o.HostsFile(host)); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	if got := string(o.HostsFile(nil)); got != localHosts+"127.0.0.1\tid\n" {
		t.Errorf("host without a file:\n%s", got)
	}
}
