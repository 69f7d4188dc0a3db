package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// alpine is the config of alpine:3.20 and what matters of its files.
func alpine() (Image, Files, Options) {
	img := Image{
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Cmd: []string{"/bin/sh"},
	}
	files := Files{
		Passwd: []byte("root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\nguest:x:405:100:guest:/dev/null:/sbin/nologin\n"),
		Group:  []byte("root:x:0:root\nbin:x:1:root,bin,daemon\ndaemon:x:2:root,bin,daemon\ntty:x:5:\nwheel:x:10:root\nusers:x:100:games\n"),
	}
	return img, files, Options{ID: "3f4ff3ca0b1e", RootPath: "/run/umiak/3f4ff3ca0b1e/root", NofileHard: 524288}
}

// mustNew returns the spec or ends the test.
func mustNew(t *testing.T, img Image, files Files, o Options) *specs.Spec {
	t.Helper()
	s, err := New(img, files, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGolden(t *testing.T) {
	full := func(img *Image, o *Options) {
		img.User, img.WorkingDir, img.StopSignal = "guest", "/srv", "SIGQUIT"
		img.Labels = map[string]string{"run.oci.handler": "krun"}
		o.Hostname, o.ReadOnly, o.Terminal, o.NoNewPrivileges = "box", true, true, true
		o.Args, o.Env, o.GroupAdd = []string{"echo", "hi"}, []string{"A=1"}, []string{"tty"}
		o.Network, o.ShmSize = "none", 1<<20
		o.CapAdd, o.CapDrop = []string{"NET_ADMIN"}, []string{"all"}
		o.Mounts = []specs.Mount{{Destination: "/etc/hosts", Source: "/run/umiak/hosts", Type: "bind", Options: []string{"rbind", "ro"}}}
		o.MaskedPaths = []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}
		o.Annotations = map[string]string{"who": "ci"}
		o.Resources = Resources{
			Memory: new(int64(100 << 20)), PidsLimit: new(int64(64)),
			CPUQuota: new(int64(150000)), CPUPeriod: new(uint64(100000)), CpusetCpus: "0-1",
			DeviceReadBPS: []Throttle{{8, 0, 1 << 20}}, DeviceWriteIOPS: []Throttle{{8, 16, 100}},
		}
	}
	for name, change := range map[string]func(*Image, *Options){
		"default": func(*Image, *Options) {},
		"full":    full,
	} {
		t.Run(name, func(t *testing.T) {
			img, files, o := alpine()
			change(&img, &o)
			got, err := json.MarshalIndent(mustNew(t, img, files, o), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", "specs", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("spec differs from %s (run with -update and look at the diff):\n%s", file, got)
			}
		})
	}
}

// TestRules has docker's rules, one a row.
func TestRules(t *testing.T) {
	args := func(s *specs.Spec) any { return s.Process.Args }
	env := func(key string) func(*specs.Spec) any {
		return func(s *specs.Spec) any {
			var found []string
			for _, kv := range s.Process.Env {
				if k, v, _ := strings.Cut(kv, "="); k == key {
					found = append(found, v)
				}
			}
			return found
		}
	}
	cwd := func(s *specs.Spec) any { return s.Process.Cwd }
	uid := func(s *specs.Spec) any { return s.Process.User.UID }
	gids := func(s *specs.Spec) any { return s.Process.User.AdditionalGids }
	stop := func(s *specs.Spec) any { return s.Annotations[stopSignalAnnotation] }
	rlimits := func(s *specs.Spec) any { return s.Process.Rlimits }
	network := func(s *specs.Spec) any { return hasNamespace(s, specs.NetworkNamespace) }
	mount := func(dest string) func(*specs.Spec) any {
		return func(s *specs.Spec) any {
			var found []string
			for _, m := range s.Mounts {
				if m.Destination == dest {
					found = append(found, m.Source)
				}
			}
			return found
		}
	}
	words := func(w ...string) []string { return w }
	entry := func(w ...string) *[]string { return &w }
	type change = func(*Image, *Options)

	for _, tt := range []struct {
		rule   string
		change change
		get    func(*specs.Spec) any
		want   any
	}{
		{"cmd alone", func(i *Image, o *Options) {}, args, words("/bin/sh")},
		{"entrypoint and cmd", func(i *Image, o *Options) { i.Entrypoint = words("/e", "-x") }, args, words("/e", "-x", "/bin/sh")},
		{"args replace cmd", func(i *Image, o *Options) { o.Args = words("a") }, args, words("a")},
		{"args keep entrypoint", func(i *Image, o *Options) { i.Entrypoint, o.Args = words("/e"), words("a") }, args, words("/e", "a")},
		{"entrypoint of the user drops cmd", func(i *Image, o *Options) { i.Entrypoint, o.Entrypoint = words("/e"), entry("/u") }, args, words("/u")},
		{"entrypoint of the user and args", func(i *Image, o *Options) { o.Entrypoint, o.Args = entry("/u"), words("a") }, args, words("/u", "a")},
		{"empty entrypoint clears", func(i *Image, o *Options) { i.Entrypoint, o.Entrypoint, o.Args = words("/e"), entry(""), words("a") }, args, words("a")},
		{"no entrypoint clears", func(i *Image, o *Options) { i.Entrypoint, o.Entrypoint, o.Args = words("/e"), entry(), words("a") }, args, words("a")},

		{"env of the image", func(i *Image, o *Options) { i.Env = words("A=1") }, env("A"), words("1")},
		{"env of the user wins", func(i *Image, o *Options) { i.Env, o.Env = words("A=1"), words("A=2") }, env("A"), words("2")},
		{"env given twice", func(i *Image, o *Options) { o.Env = words("A=1", "A=2") }, env("A"), words("2")},
		{"env with = in the value", func(i *Image, o *Options) { o.Env = words("A=b=c") }, env("A"), words("b=c")},
		{"env empty", func(i *Image, o *Options) { i.Env, o.Env = words("A=1"), words("A=") }, env("A"), words("")},
		{"env taken away", func(i *Image, o *Options) { i.Env, o.Env = words("A=1"), words("A") }, env("A"), []string(nil)},
		{"env taken away and set again", func(i *Image, o *Options) { i.Env, o.Env = words("A=1"), words("A", "A=3") }, env("A"), words("3")},
		{"env of the image malformed", func(i *Image, o *Options) { i.Env = words("A", "=x", "B=1") }, env("B"), words("1")},
		{"env of the image malformed is left out", func(i *Image, o *Options) { i.Env = words("A") }, env("A"), []string(nil)},
		{"PATH default", func(i *Image, o *Options) { i.Env = nil }, env("PATH"), words(defaultPath)},
		{"PATH of the image", func(i *Image, o *Options) { i.Env = words("PATH=/x") }, env("PATH"), words("/x")},
		{"HOSTNAME is the id", func(i *Image, o *Options) {}, env("HOSTNAME"), words("3f4ff3ca0b1e")},
		{"HOSTNAME is the host name", func(i *Image, o *Options) { o.Hostname = "h" }, env("HOSTNAME"), words("h")},
		{"TERM without a terminal", func(i *Image, o *Options) {}, env("TERM"), []string(nil)},
		{"TERM with one", func(i *Image, o *Options) { o.Terminal = true }, env("TERM"), words("xterm")},
		{"TERM of the user", func(i *Image, o *Options) { o.Terminal, o.Env = true, words("TERM=vt100") }, env("TERM"), words("vt100")},
		{"HOME of root", func(i *Image, o *Options) {}, env("HOME"), words("/root")},
		{"HOME of a user", func(i *Image, o *Options) { o.User = "bin" }, env("HOME"), words("/bin")},
		{"HOME of nobody known", func(i *Image, o *Options) { o.User = "1234" }, env("HOME"), words("/")},
		{"HOME of the image", func(i *Image, o *Options) { i.Env = words("HOME=/h") }, env("HOME"), words("/h")},
		{"HOME taken away is the default again", func(i *Image, o *Options) { i.Env, o.Env = words("HOME=/h"), words("HOME") }, env("HOME"), words("/root")},
		{"container", func(i *Image, o *Options) {}, env("container"), words("umiak")},

		{"directory default", func(i *Image, o *Options) {}, cwd, "/"},
		{"directory of the image", func(i *Image, o *Options) { i.WorkingDir = "/a/../b/" }, cwd, "/b"},
		{"directory of the image, relative", func(i *Image, o *Options) { i.WorkingDir = "../app" }, cwd, "/app"},
		{"directory of the user", func(i *Image, o *Options) { i.WorkingDir, o.WorkingDir = "/a", "/b/../../c" }, cwd, "/c"},

		{"user of the image", func(i *Image, o *Options) { i.User = "bin" }, uid, uint32(1)},
		{"user of the user", func(i *Image, o *Options) { i.User, o.User = "bin", "405" }, uid, uint32(405)},
		{"groups added", func(i *Image, o *Options) { o.User, o.GroupAdd = "bin", words("wheel", "77", "bin") }, gids, []uint32{1, 2, 10, 77}},

		{"stop signal", func(i *Image, o *Options) { i.StopSignal = "SIGRTMIN+3" }, stop, "SIGRTMIN+3"},
		{"stop signal of the user", func(i *Image, o *Options) {
			i.StopSignal, o.Annotations = "SIGQUIT", map[string]string{stopSignalAnnotation: "9"}
		}, stop, "9"},
		{"no stop signal", func(i *Image, o *Options) {}, stop, ""},
		{"labels stay outside", func(i *Image, o *Options) { i.Labels = map[string]string{"a": "b"} },
			func(s *specs.Spec) any { return len(s.Annotations) }, 0},

		{"open files", func(i *Image, o *Options) {}, rlimits, []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 524288}}},
		{"open files, low host", func(i *Image, o *Options) { o.NofileHard = 100 }, rlimits, []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 100}}},
		{"open files, host unknown", func(i *Image, o *Options) { o.NofileHard = 0 }, rlimits, []specs.POSIXRlimit(nil)},
		{"open files of the user", func(i *Image, o *Options) { o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}} },
			rlimits, []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}}},
		{"other limits come after", func(i *Image, o *Options) { o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}} },
			rlimits, []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 524288}, {Type: "RLIMIT_CORE"}}},

		{"network default", func(i *Image, o *Options) {}, network, false},
		{"network host", func(i *Image, o *Options) { o.Network = "host" }, network, false},
		{"network none", func(i *Image, o *Options) { o.Network = "none" }, network, true},

		{"mounts are appended", func(i *Image, o *Options) {
			o.Mounts = []specs.Mount{{Destination: "/v", Type: "bind", Source: "/s"}}
		}, func(s *specs.Spec) any { return s.Mounts[len(s.Mounts)-1].Destination }, "/v"},
		{"a mount replaces a default one", func(i *Image, o *Options) {
			o.Mounts = []specs.Mount{{Destination: "/dev/shm/", Type: "bind", Source: "/s"}}
		}, mount("/dev/shm"), []string(nil)},
		{"read-only root", func(i *Image, o *Options) { o.ReadOnly = true }, func(s *specs.Spec) any { return s.Root.Readonly }, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			img, files, o := alpine()
			tt.change(&img, &o)
			if got := tt.get(mustNew(t, img, files, o)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

// TestRefusals: the message names what is wrong, and what is wanted.
func TestRefusals(t *testing.T) {
	empty := []string{}
	for _, tt := range []struct {
		name   string
		change func(*Image, *Options)
		text   string
	}{
		{"no id", func(i *Image, o *Options) { o.ID = "" }, "run id"},
		{"id with a slash", func(i *Image, o *Options) { o.ID = "../x" }, "run id"},
		{"id of dots", func(i *Image, o *Options) { o.ID = ".." }, "run id"},
		{"id like a flag", func(i *Image, o *Options) { o.ID = "-x" }, "run id"},
		{"id with a line", func(i *Image, o *Options) { o.ID = "x\ny" }, "run id"},
		{"no command", func(i *Image, o *Options) { i.Cmd = nil }, "neither Entrypoint nor Cmd"},
		{"cleared command", func(i *Image, o *Options) { o.Entrypoint = &empty }, "drops the image's command"},
		{"empty word", func(i *Image, o *Options) { o.Args = []string{"", "x"} }, "empty string"},
		{"NUL in a word", func(i *Image, o *Options) { o.Args = []string{"a", "b\x00"} }, "NUL"},
		{"env without a name", func(i *Image, o *Options) { o.Env = []string{"=x"} }, "NAME=VALUE"},
		{"empty env", func(i *Image, o *Options) { o.Env = []string{""} }, "NAME=VALUE"},
		{"NUL in the image's env", func(i *Image, o *Options) { i.Env = []string{"A=\x00"} }, "NUL"},
		{"relative directory", func(i *Image, o *Options) { o.WorkingDir = "b" }, "absolute"},
		{"NUL in the image's directory", func(i *Image, o *Options) { i.WorkingDir = "/\x00" }, "working directory"},
		{"unknown user", func(i *Image, o *Options) { o.User = "nosuch" }, `user "nosuch": not in the image's /etc/passwd`},
		{"unknown group", func(i *Image, o *Options) { o.GroupAdd = []string{"nosuch"} }, `group "nosuch": not in the image's /etc/group`},
		{"stop signal", func(i *Image, o *Options) { i.StopSignal = "9; rm" }, "stop signal"},
		{"long stop signal", func(i *Image, o *Options) { i.StopSignal = strings.Repeat("9", 17) }, "stop signal"},
		{"host name", func(i *Image, o *Options) { o.Hostname = "a b" }, "host name"},
		{"host name with a line for /etc/hosts", func(i *Image, o *Options) { o.Hostname = "a\n1.2.3.4" }, "host name"},
		{"long host name", func(i *Image, o *Options) { o.Hostname = strings.Repeat("h", 65) }, "at most 64"},
		{"network", func(i *Image, o *Options) { o.Network = "bridge" }, "want host or none"},
		{"shm", func(i *Image, o *Options) { o.ShmSize = -1 }, "/dev/shm"},
		{"root", func(i *Image, o *Options) { o.RootPath = "root" }, "root \"root\""},
		{"annotation", func(i *Image, o *Options) { o.Annotations = map[string]string{"": "x"} }, "annotation"},
		{"masked path", func(i *Image, o *Options) { o.MaskedPaths = []string{"proc"} }, "masked"},
		{"ulimit unknown", func(i *Image, o *Options) { o.Ulimits = []specs.POSIXRlimit{{Type: "nofile"}} }, "RLIMIT_NOFILE"},
		{"ulimit soft", func(i *Image, o *Options) {
			o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 2, Hard: 1}}
		}, "above hard limit"},
		{"ulimit twice", func(i *Image, o *Options) {
			o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}, {Type: "RLIMIT_CORE"}}
		}, "twice"},
		{"mount over the root", func(i *Image, o *Options) {
			o.Mounts = []specs.Mount{{Destination: "/a/..", Type: "bind", Source: "/s"}}
		}, "hide the root"},
		{"capability", func(i *Image, o *Options) { o.CapAdd = []string{"FLY"} }, `capability "FLY" to add: unknown`},
		{"little memory", func(i *Image, o *Options) { o.Resources.Memory = new(int64(4 << 20)) }, "6 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, files, o := alpine()
			tt.change(&img, &o)
			s, err := New(img, files, o)
			if err == nil || !errors.Is(err, ErrInvalid) || s != nil {
				t.Fatalf("got %v, %v; want an ErrInvalid", s, err)
			}
			if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("message %q, want one line with %q", err, tt.text)
			}
		})
	}
}

// TestInputsKept: a caller's slices and maps are not written to.
func TestInputsKept(t *testing.T) {
	img, files, o := alpine()
	img.StopSignal = "TERM"
	img.Entrypoint = append(make([]string, 0, 8), "/e")
	o.Annotations = map[string]string{"a": "b"}
	o.Mounts = append(make([]specs.Mount, 0, 8), specs.Mount{Destination: "/v", Type: "tmpfs"})
	s := mustNew(t, img, files, o)
	s.Mounts[0].Destination, s.Linux.MaskedPaths[0], s.Linux.ReadonlyPaths[0] = "/changed", "/changed", "/changed"
	if len(o.Annotations) != 1 || slices.Contains(img.Entrypoint[:2], "/bin/sh") || o.Mounts[0].Destination != "/v" {
		t.Error("New wrote into what it was given")
	}
	if t2 := mustNew(t, img, files, o); t2.Linux.MaskedPaths[0] == "/changed" || t2.Linux.ReadonlyPaths[0] == "/changed" {
		t.Error("a spec shares its lists with the package")
	}
}
