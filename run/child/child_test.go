package child

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func readSpec(t *testing.T) *specs.Spec {
	t.Helper()
	b, err := os.ReadFile("testdata/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

var overlay = &Overlay{Base: "/cache", Lower: "roots/r/rootfs", Upper: "state/x/upper", Work: "state/x/work", Volatile: true}

func compile(t *testing.T, c Config) *List {
	t.Helper()
	if c.Stdio == [3]int{} {
		c.Stdio = [3]int{0, 1, 2}
	}
	l, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestGolden holds the whole line of steps: a change of what a child does shows as a diff.
func TestGolden(t *testing.T) {
	masked := func(p string) bool { return p == "/proc/acpi" || p == "/sys/firmware" }
	for name, c := range map[string]Config{
		"default": {Overlay: overlay, IsDir: masked},
		"all": {
			Overlay: overlay, Filter: &Filter{Program: make([]byte, 80)}, Init: "/usr/bin/umiak", InitReport: 12, ParentFd: 7, Preserve: 2,
			IsDir: func(p string) bool { return p == "/src" },
		},
		"terminal": {Overlay: overlay, Terminal: &Terminal{MountFd: 8, SlaveFd: 9}, ParentFd: 7},
		"v1":       {Hierarchies: []Hierarchy{{"memory", []string{"memory"}}, {"systemd", []string{"none", "name=systemd"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Spec = readSpec(t)
			if name == "all" {
				c.Spec = everything(c.Spec)
			}
			got := compile(t, c).String()
			file := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the list differs from %s (go test -update rewrites it):\n%s", file, got)
			}
		})
	}
}

// everything asks for what a plain run does not.
func everything(s *specs.Spec) *specs.Spec {
	s.Linux.Sysctl = map[string]string{"kernel.shm_rmid_forced": "1"}
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200}}
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/a/b", Source: "/src", Type: "bind", Options: []string{"rbind", "rro", "nosuid"}},
		specs.Mount{Destination: "/s", Source: "/src", Type: "bind", Options: []string{"rbind", "rshared"}},
		specs.Mount{Destination: "/f", Source: "/file", Type: "bind", Options: []string{"bind", "rslave", "ro"}})
	s.Root.Readonly = true
	s.Process.User.UID, s.Process.User.GID, s.Process.User.AdditionalGids = 1000, 1000, []uint32{1000, 27}
	s.Process.Cwd = "/work/dir"
	adj := -5
	s.Process.OOMScoreAdj = &adj
	return s
}

// What a list cannot express must be refused: a spec's request is never dropped.
func TestRefuses(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"no arguments":       func(s *specs.Spec) { s.Process.Args = nil },
		"no mount namespace": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:1] },
		"a namespace to join": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: "/x"})
		},
		"a user namespace": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		},
		"seccomp uncompiled":    func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{} },
		"apparmor":              func(s *specs.Spec) { s.Process.ApparmorProfile = "x" },
		"selinux":               func(s *specs.Spec) { s.Process.SelinuxLabel = "x" },
		"sysctl without /proc":  func(s *specs.Spec) { s.Mounts, s.Linux.Sysctl = nil, map[string]string{"a": "b"} },
		"a device elsewhere":    func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/x", Type: "c"}} },
		"a device of no type":   func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} },
		"hooks":                 func(s *specs.Spec) { s.Hooks = &specs.Hooks{} },
		"an unknown rlimit":     func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"unknown capability":    func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"CAP_X"} },
		"an unknown mount":      func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "ext4"}) },
		"a mount over the root": func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x/..", Type: "tmpfs"}) },
		"an option for a bind": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: "/y", Type: "bind", Options: []string{"size=1"}})
		},
		"a NUL byte": func(s *specs.Spec) { s.Process.Args = []string{"a\x00b"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := readSpec(t)
			change(s)
			l, err := Compile(Config{Spec: s, Overlay: overlay})
			if err == nil {
				_, err = l.assemble()
			}
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestResolve(t *testing.T) {
	s := readSpec(t)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/link/x", Source: "/y", Type: "bind"})
	l := compile(t, Config{Spec: s, Overlay: overlay, Resolve: func(p string) (string, error) {
		return strings.Replace(p, "/link", "/target", 1), nil
	}})
	if out := l.String(); !strings.Contains(out, `"target/x"`) || strings.Contains(out, `"link`) {
		t.Error("the mount's destination was not resolved:\n" + out)
	}
	_, err := Compile(Config{Spec: s, Overlay: overlay, Resolve: func(string) (string, error) { return "", errors.New("a loop") }})
	if err == nil || !strings.Contains(err.Error(), "a loop") {
		t.Errorf("an error of Resolve: %v", err)
	}
}

func TestSearch(t *testing.T) {
	for _, x := range []struct {
		env       []string
		cwd, name string
		want      []string
	}{
		{nil, "/", "/bin/sh", []string{"/bin/sh"}},
		{nil, "/w", "./x", []string{"/w/x"}},
		{[]string{"PATH=/a:/b/"}, "/w", "x", []string{"/a/x", "/b/x"}},
		{[]string{"PATH=:rel"}, "/w", "x", []string{"/w/x", "/w/rel/x"}},
		{[]string{"A=b"}, "/", "x", []string{"/usr/local/sbin/x", "/usr/local/bin/x", "/usr/sbin/x", "/usr/bin/x", "/sbin/x", "/bin/x"}},
	} {
		if got := Search(x.env, x.cwd, x.name); !slices.Equal(got, x.want) {
			t.Errorf("Search(%q, %q, %q) = %q, want %q", x.env, x.cwd, x.name, got, x.want)
		}
	}
}

// A list survives the way to a re-exec'ed child.
func TestListTravels(t *testing.T) {
	l := compile(t, Config{Spec: readSpec(t), Overlay: overlay, ParentFd: 5})
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var back List
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if l.String() != back.String() || !reflect.DeepEqual(l.Keep, back.Keep) {
		t.Error("the list came back changed")
	}
}

func TestSpare(t *testing.T) {
	for n, want := range map[int]string{
		3: "close_range(4, ~0, 0)",
		4: "close_range(5, ~0, 0)",
		9: "close_range(4, 8, 0) close_range(10, ~0, 0)",
	} {
		l := compile(t, Config{Spec: readSpec(t), Overlay: overlay})
		before := len(l.Ops)
		added := l.spare(n)
		var calls []string
		for _, o := range l.Ops {
			if o.Nr == unix.SYS_CLOSE_RANGE {
				calls = append(calls, l.call(o))
			}
		}
		if got := strings.Join(calls, " "); got != want {
			t.Errorf("sparing %d: %s, want %s", n, got, want)
		}
		if grew := len(l.Ops) > before; grew != (added < len(l.Ops)) {
			t.Errorf("sparing %d: %d operations more, says %d", n, len(l.Ops)-before, added)
		}
	}
}

// run is the loop that a child runs; here it runs in this process with calls that harm nobody.
func TestLoop(t *testing.T) {
	k := &compiler{list: List{Slots: []string{""}}}
	fd := k.save(k.do("dup", unix.SYS_DUP, num(1<<20)).allow(syscall.EBADF), "none")
	k.do("close", unix.SYS_CLOSE, k.slot(fd)) // left out: its descriptor is missing
	pid := k.save(k.do("getpid", unix.SYS_GETPID), "pid")
	k.do("kill", unix.SYS_KILL, k.slot(pid), num(0))
	k.begin("the last step")
	k.do("close", unix.SYS_CLOSE, num(1<<20))
	p, err := k.list.assemble()
	if err != nil {
		t.Fatal(err)
	}
	op, errno := p.run()
	if op != 4 || errno != syscall.EBADF {
		t.Fatalf("stopped at %d with %v", op, errno)
	}
	e := k.list.failure(op, errno)
	if e.Step != "the last step" || e.Call != "close(1048576)" || !errors.Is(e, syscall.EBADF) {
		t.Errorf("%+v", e)
	}
}

// An option that reads back as something else than was set is a failure.
func TestReadBack(t *testing.T) {
	for name, build := range map[string]func(k *compiler){
		"exact": func(k *compiler) { k.want(k.do("getpid", unix.SYS_GETPID), 1<<40) },
		"same": func(k *compiler) {
			o := k.do("getrlimit", unix.SYS_GETRLIMIT, num(unix.RLIMIT_NOFILE), data(make([]byte, 16), "{}"))
			o.Kind, o.Expect = same, []byte("0123456789abcdef")
		},
	} {
		k := &compiler{list: List{Slots: []string{""}}}
		build(k)
		p, err := k.list.assemble()
		if err != nil {
			t.Fatal(err)
		}
		if op, errno := p.run(); op != 0 || errno != notAsAsked {
			t.Errorf("%s: stopped at %d with %v", name, op, errno)
		}
	}
}

func TestExecErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/denied", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		files []string
		want  syscall.Errno
	}{
		{[]string{dir + "/a", dir + "/b"}, syscall.ENOENT},
		{[]string{dir + "/denied", dir + "/b"}, syscall.EACCES},
		{[]string{dir + "/denied/x"}, syscall.ENOENT},
	} {
		k := &compiler{list: List{Slots: []string{""}}}
		for _, f := range x.files {
			k.do("execve", unix.SYS_EXECVE, text(f), list([]string{f}, "argv"), list(nil, "envp")).Kind = exec
		}
		p, err := k.list.assemble()
		if err != nil {
			t.Fatal(err)
		}
		if _, errno := p.run(); errno != x.want {
			t.Errorf("%q: %v, want %v", x.files, errno, x.want)
		}
	}
}

// FuzzCompile feeds specs: whatever a config.json says, compiling ends in a list or an error.
func FuzzCompile(f *testing.F) {
	b, err := os.ReadFile("testdata/config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s specs.Spec
		if json.Unmarshal(b, &s) != nil {
			return
		}
		l, err := Compile(Config{Spec: &s, Overlay: overlay})
		if err != nil {
			return
		}
		if _, err := l.assemble(); err == nil && l.String() == "" {
			t.Error("a list without a word")
		}
	})
}
