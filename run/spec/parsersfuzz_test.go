package spec

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzMounts: what a parser lets through, New takes, and it stays inside.
func FuzzMounts(f *testing.F) {
	for _, s := range []string{
		"/a:/b:ro,rslave", "vol:/v:nocopy,U", "./x:/y/../z", "/v", ":", "/a:/b:z", "v:/", "/t:size=1m,exec", "/t:mode=9", "/run:ro,uid=0,mpol=bind:0",
		`type=bind,"src=/a,c",dst=/b,ro`, "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777", "src=vol,dst=/b,volume-subpath=../a", "type=bind,src=/a,dst=/b,readonly,bind-recursive=writable", "\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Mount, error){ParseVolume, ParseMount, ParseTmpfs} {
			m, err := parse(s)
			if err != nil {
				if !errors.Is(err, ErrInvalid) {
					t.Fatalf("%q: %v", s, err)
				}
				continue
			}
			if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/" {
				t.Fatalf("%q: target %q", s, m.Target)
			}
			if m.Type == "volume" && strings.ContainsAny(m.Source, "/\x00") || slices.Contains(strings.Split(m.Subpath, "/"), "..") {
				t.Fatalf("%q: volume %q, subpath %q", s, m.Source, m.Subpath)
			}
			m.HostPath = "/host"
			img, files, o := alpine()
			o.Volumes = []Mount{m}
			spec, err := New(img, files, o)
			if err != nil {
				t.Fatalf("%q: parsed and then refused: %v", s, err)
			}
			checkMount(t, s, m, spec.Mounts)
		}
	})
}

func checkMount(t *testing.T, s string, m Mount, list []specs.Mount) {
	i := slices.IndexFunc(list, func(x specs.Mount) bool { return x.Destination == m.Target })
	if i < 0 {
		t.Fatalf("%q: not mounted", s)
	}
	got := list[i]
	if m.Type != "tmpfs" {
		readOnly := slices.Contains(got.Options, "ro") || slices.Contains(got.Options, "rro")
		if got.Source != "/host" || readOnly != m.ReadOnly {
			t.Fatalf("%q: %+v", s, got)
		}
		return
	}
	for _, pair := range [][2]string{{"noexec", "exec"}, {"nosuid", "suid"}, {"nodev", "dev"}} {
		if slices.Contains(got.Options, pair[0]) == slices.Contains(got.Options, pair[1]) {
			t.Fatalf("%q: %q", s, got.Options)
		}
	}
	if got.Source != "tmpfs" || m.ReadOnly && !slices.Contains(got.Options, "ro") {
		t.Fatalf("%q: %+v", s, got)
	}
}

func FuzzParseEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB\n", "\xef\xbb\xbf#x\n =\n", "A=\"q\"\r\nHOME", "A\x00=", "\n\n\n", " \v\f A=1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		before := bytes.Clone(content)
		list, err := ParseEnvFile(content, func(name string) (string, bool) { return "v", strings.HasPrefix(name, "H") })
		if !bytes.Equal(before, content) {
			t.Fatalf("%q: written to", before)
		}
		if err != nil {
			if list != nil || !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("%q: %q, %v", content, list, err)
			}
			return
		}
		for _, kv := range list {
			name, value, ok := strings.Cut(kv, "=")
			if !ok || name == "" || name[0] == '#' || strings.ContainsAny(name, " \t\n\x00") || strings.ContainsAny(value, "\n\x00") {
				t.Fatalf("%q: %q", content, kv)
			}
		}
		img, files, o := alpine()
		o.Env = list
		if _, err := New(img, files, o); err != nil {
			t.Fatalf("%q: parsed and then refused: %v", content, err)
		}
	})
}

// FuzzParsers has those that read a word or two.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{
		"nofile=1:2", "core=-1", "/dev/fuse:/dev/x:rw", "net.ipv4.ip_forward=1", "kernel.shmmax=1\n2", "seccomp=unconfined", "unmask=/proc/*:/sys", "mask=/a",
		"db:[::1]", "db:1.2.3.4", "a\nb:1.2.3.4", "db:fe80::1%x\ny", "SIGRTMIN+3", "64", "-1", "0022", "Europe/Berlin", "../x", "a=b", "unmask=[", "no-new-privileges=0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		img, files, o := alpine()
		o.Network = "none"
		var errs []error
		check := func(err error, keep func()) {
			if err == nil {
				keep()
			}
			errs = append(errs, err)
		}
		limit, err := ParseUlimit(s)
		check(err, func() { o.Ulimits = []specs.POSIXRlimit{limit} })
		stat := func(name string) ([]specs.LinuxDevice, error) {
			return []specs.LinuxDevice{{Path: name, Type: "c", Major: 1}}, nil
		}
		devices, err := ParseDevice(s, stat)
		check(err, func() {
			if a := devices[0].Access; strings.Contains(a, "r") && strings.Contains(a, "w") {
				o.Devices = devices
			}
		})
		name, value, err := ParseSysctl(s)
		check(err, func() { o.Sysctls = map[string]string{name: value} })
		err = ParseSecurityOpt(s, &o.Security)
		check(err, func() {
			if o.Security.Seccomp != "unconfined" {
				o.Security.Seccomp = ""
			}
		})
		line, err := ParseAddHost(s)
		check(err, func() { o.AddHosts = []string{line} })
		n, err := ParseSignal(s)
		check(err, func() { o.StopSignal = s })
		umask, err := ParseUmask(s)
		check(err, func() { o.Umask = &umask })
		zone, err := ParseZone(s)
		check(err, func() { o.ZoneFile = zone })
		seconds, err := ParseSeconds(s)
		check(err, func() {})
		key, value, err := ParseLabel(s)
		check(err, func() { o.Annotations = map[string]string{key: value} })

		for _, err := range errs {
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v", s, err)
			}
		}
		if strings.Contains(line, "\n") || len(strings.Fields(line)) > 2 || n < 0 || n > 64 || seconds < -1 || strings.Contains(zone, "..") {
			t.Fatalf("%q: %q, %d, %v, %q", s, line, n, seconds, zone)
		}
		if _, err := New(img, files, o); err != nil {
			t.Fatalf("%q: parsed and then refused: %v", s, err)
		}
	})
}

// FuzzNetFiles: a flag adds its line to a file, and no other.
func FuzzNetFiles(f *testing.F) {
	f.Add("1.1.1.1", "example.org", "ndots:2", "nameserver 9.9.9.9\nsearch a\n")
	f.Add("fe80::1%a\nb", ".", "", "domain x")
	f.Fuzz(func(t *testing.T, server, search, option, host string) {
		o := Options{ID: "id", DNS: DNS{[]string{server}, []string{search}, []string{option}}}
		if o.DNS.check() != nil {
			return
		}
		want := 3
		if search == "." {
			want = 2
		}
		if got := strings.Count(string(o.ResolvConf(nil)), "\n"); got != want {
			t.Fatalf("%+v: %q", o.DNS, o.ResolvConf(nil))
		}
		text := string(o.ResolvConf([]byte(host)))
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" && words[1] != server {
				t.Fatalf("%+v with %q: %q", o.DNS, host, text)
			}
		}
	})
}
