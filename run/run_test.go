package run

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/umiak/umiak/run/cgroup"
	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/pty"
	"github.com/umiak/umiak/run/spec"
)

var modes = []child.Mode{child.Vfork, child.Reexec}

// stage is a cache of one image, whose only program is this test's binary, and the state of a run.
type stage struct {
	t       *testing.T
	base    string
	runs    int
	own     string // the latest run's directory, beneath base
	options spec.Options
	image   spec.Image
	files   spec.Files
}

func newStage(t *testing.T) *stage {
	if os.Getuid() != 0 {
		t.Skip("needs root: namespaces and mounts")
	}
	s := &stage{t: t, base: t.TempDir()}
	s.options = spec.Options{ID: "t" + strconv.Itoa(os.Getpid()) + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "=", "-").Replace(t.Name()[4:min(len(t.Name()), 40)])), NofileHard: 4096}
	s.mkdir("roots/r/rootfs/bin")
	s.mkdir("state")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := elf.NewFile(bytes.NewReader(self)); err != nil || slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Skip("needs a static test binary: CGO_ENABLED=0")
	}
	s.file("bin/probe", string(self), 0o755)
	s.write("state/resolv.conf", "nameserver 192.0.2.1\n", 0o644)
	return s
}

func (s *stage) root() string { return filepath.Join(s.base, "roots/r/rootfs") }

func (s *stage) mkdir(name string) {
	if err := os.MkdirAll(filepath.Join(s.base, name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) write(name, content string, mode os.FileMode) {
	if err := os.WriteFile(filepath.Join(s.base, name), []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

// file makes a file of the image's.
func (s *stage) file(name, content string, mode os.FileMode) {
	s.mkdir(filepath.Join("roots/r/rootfs", filepath.Dir(name)))
	s.write(filepath.Join("roots/r/rootfs", name), content, mode)
}

func (s *stage) link(target, name string) {
	s.mkdir(filepath.Join("roots/r/rootfs", filepath.Dir(name)))
	if err := os.Symlink(target, filepath.Join(s.root(), name)); err != nil {
		s.t.Fatal(err)
	}
}

// config makes the run of a command.
func (s *stage) config(mode child.Mode, args ...string) Config {
	s.runs++
	s.own = "state/" + strconv.Itoa(s.runs)
	for _, d := range []string{"upper", "work", "root"} {
		s.mkdir(filepath.Join(s.own, d))
	}
	o := s.options
	o.Args, o.RootPath = args, filepath.Join(s.base, s.own, "root")
	sp, err := spec.New(s.image, s.files, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return Config{
		ID: o.ID, Spec: sp, Mode: mode,
		Overlay: &Overlay{Base: s.base, Lower: "roots/r/rootfs", Upper: s.own + "/upper", Work: s.own + "/work"},
	}
}

// run runs a command to its end and gives its output.
func (s *stage) run(c Config) (Status, string, error) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if c.Stdio[1] == nil {
		c.Stdio[1] = w
	}
	k, err := Start(c)
	w.Close()
	if err != nil {
		return Status{}, "", err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	st, err := k.Wait()
	return st, string(out), err
}

// look runs the probe and gives what it saw.
func (s *stage) look(c Config) view {
	s.t.Helper()
	st, out, err := s.run(c)
	if err != nil || st.Code != 0 || st.Signal != 0 {
		s.t.Fatalf("probe: %+v, %v, output %q", st, err, out)
	}
	var v view
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("probe said %q: %v", out, err)
	}
	return v
}

func eachMode(t *testing.T, f func(t *testing.T, s *stage, mode child.Mode)) {
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) { f(t, newStage(t), m) })
	}
}

func TestIsolation(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		s.options.Hostname = "boat"
		s.options.Network = "none"
		// A descriptor of ours that is not close-on-exec must not reach the program.
		leak, err := syscall.Open("/", syscall.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(leak)
		v := s.look(s.config(mode, "probe", "look", s.base))
		want := func(what string, ok bool, saw any) {
			if !ok {
				t.Errorf("%s: saw %v", what, saw)
			}
		}
		want("pid 1 of its own namespace", v.Pid == 1 && v.Ppid == 0, []int{v.Pid, v.Ppid})
		want("no process of the host in /proc", slices.Equal(v.Procs, []string{"1"}), v.Procs)
		want("the hostname", v.Hostname == "boat", v.Hostname)
		want("only the loopback", slices.Equal(v.Interfaces, []string{"lo"}), v.Interfaces)
		want("no file of the host", !v.Canary, s.base)
		want("the image's root", slices.Equal(v.Root, []string{"bin", "dev", "proc", "sys"}), v.Root)
		want("a minimal /dev", slices.Equal(v.Dev, []string{"core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}), v.Dev)
		want("a session of its own", v.Session == 1, v.Session)
		want("cgroup namespace", !strings.Contains(v.Cgroup, "umiak"), v.Cgroup)
		want("the program and nothing of ours as /proc/self/exe", v.SelfExe == "/bin/probe", v.SelfExe)
		want("kernel switches read-only", !v.KernelSwitchWrites, true)
		want("umask 022", v.Umask == 0o022, v.Umask)
		// 0, 1, 2, and what the probe opened to look (its poller and the directory).
		for _, fd := range v.Fds {
			n, _ := strconv.Atoi(fd)
			want("no leaked descriptor", n < 3 || n != leak, v.Fds)
		}
		want("few descriptors", len(v.Fds) <= 6, v.Fds)
		for _, m := range v.Mounts {
			want("no mount of the host", !strings.Contains(m, s.base), m)
			if strings.HasPrefix(m, "/sys ") {
				want("/sys read-only", strings.Contains(m, " ro"), m)
			}
			if strings.HasPrefix(m, "/ ") {
				want("no devices of the image's", strings.Contains(m, "nodev"), m)
			}
		}
		want("a fresh /proc", slices.ContainsFunc(v.Mounts, func(m string) bool { return strings.HasPrefix(m, "/proc proc") }), v.Mounts)
	})
}

func TestPrivileges(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		v := s.look(s.config(mode, "probe", "look"))
		// docker's default set without CAP_MKNOD.
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if v.Status[set] != "00000000a00425fb" {
				t.Errorf("%s is %s", set, v.Status[set])
			}
		}
		for _, set := range []string{"CapInh", "CapAmb"} {
			if v.Status[set] != "0000000000000000" {
				t.Errorf("%s is %s, want nothing", set, v.Status[set])
			}
		}
		if v.Status["SigBlk"] != "0000000000000000" {
			t.Errorf("blocked signals: %s", v.Status["SigBlk"])
		}
	})
}

func TestUser(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		s.files = spec.Files{Passwd: []byte("u:x:1000:1001::/home/u:/bin/sh\n"), Group: []byte("g:x:1001:\nextra:x:1234:u\n")}
		s.options.User, s.options.WorkingDir = "u", "/work/here"
		s.options.NoNewPrivileges = true
		v := s.look(s.config(mode, "probe", "look"))
		if v.Uid != 1000 || v.Gid != 1001 || !slices.Contains(v.Groups, 1234) || slices.Contains(v.Groups, 0) {
			t.Errorf("uid %d gid %d groups %v", v.Uid, v.Gid, v.Groups)
		}
		if v.Status["CapEff"] != "0000000000000000" || v.Status["CapPrm"] != "0000000000000000" {
			t.Errorf("a plain user with capabilities: %s %s", v.Status["CapEff"], v.Status["CapPrm"])
		}
		if v.Status["NoNewPrivs"] != "1" {
			t.Errorf("NoNewPrivs: %s", v.Status["NoNewPrivs"])
		}
		if v.Cwd != "/work/here" || !slices.Contains(v.Env, "HOME=/home/u") {
			t.Errorf("cwd %s, env %v", v.Cwd, v.Env)
		}
	})
}

func TestHostNetwork(t *testing.T) {
	s := newStage(t)
	s.options.Network = "host"
	v := s.look(s.config(child.Vfork, "probe", "look"))
	var host []string
	for line := range strings.Lines(read("/proc/self/net/dev")) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			host = append(host, strings.TrimSpace(name))
		}
	}
	slices.Sort(host)
	slices.Sort(v.Interfaces)
	if !slices.Equal(v.Interfaces, host) {
		t.Errorf("interfaces %v, the host has %v", v.Interfaces, host)
	}
}

func TestRootIsNeverChanged(t *testing.T) {
	s := newStage(t)
	s.file("etc/conf", "original", 0o644)
	st, out, err := s.run(s.config(child.Vfork, "probe", "write", "/etc/conf", "changed"))
	if err != nil || st.Code != 0 {
		t.Fatal(st, out, err)
	}
	if got := read(filepath.Join(s.root(), "etc/conf")); got != "original" {
		t.Errorf("the cached file says %q", got)
	}
	if got := read(filepath.Join(s.base, s.own, "upper/etc/conf")); got != "changed" {
		t.Errorf("the run's own layer says %q", got)
	}
}

func TestReadonlyRoot(t *testing.T) {
	s := newStage(t)
	s.options.ReadOnly = true
	st, out, err := s.run(s.config(child.Vfork, "probe", "write", "/new", "x"))
	if err != nil || st.Code == 0 || !strings.Contains(out, "read-only") {
		t.Errorf("%+v %q %v", st, out, err)
	}
}

func TestBindMounts(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		// resolv.conf as a dangling link, as images made on systemd machines have it.
		s.link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf")
		s.options.Mounts = []specs.Mount{{Destination: "/etc/resolv.conf", Type: "bind", Source: filepath.Join(s.base, "state/resolv.conf"), Options: []string{"rbind", "ro"}}}
		c := s.config(mode, "probe", "look")
		c.Resolve = func(p string) (string, error) {
			if p == "/etc/resolv.conf" {
				return "/run/systemd/resolve/stub-resolv.conf", nil
			}
			return p, nil
		}
		if v := s.look(c); v.Resolv != "nameserver 192.0.2.1\n" {
			t.Errorf("resolv.conf: %q", v.Resolv)
		}
	})
}

func TestExitStatuses(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		s.file("bin/noexec", "not executable", 0o644)
		s.file("bin/noformat", "\x01\x02 nonsense", 0o755)
		s.file("bin/nointerp", "#!/no/such/interpreter\n", 0o755)
		st, _, err := s.run(s.config(mode, "probe", "exit", "7"))
		if err != nil || st.end() != (Status{Code: 7}) {
			t.Errorf("exit 7: %+v, %v", st, err)
		}
		st, _, err = s.run(s.config(mode, "probe", "kill"))
		if err != nil || st.Signal != 0 && st.Signal != syscall.SIGKILL {
			t.Errorf("kill: %+v, %v", st, err)
		}
		for _, x := range []struct {
			name string
			want syscall.Errno
		}{
			{"missing", syscall.ENOENT}, {"/bin/missing", syscall.ENOENT}, {"noexec", syscall.EACCES}, {"/bin/noexec", syscall.EACCES},
			{"/bin", syscall.EACCES}, {"noformat", syscall.ENOEXEC}, {"nointerp", syscall.ENOENT}, {"/bin/probe/x", syscall.ENOENT},
		} {
			_, _, err := s.run(s.config(mode, x.name))
			e, ok := errors.AsType[*child.Error](err)
			if !ok || !e.Exec || e.Errno != x.want {
				t.Errorf("%s: %v, want exec's %v", x.name, err, x.want)
			}
		}
	})
}

func TestSignals(t *testing.T) {
	for _, x := range []struct {
		what string
		sig  syscall.Signal
		want Status
	}{
		{"sleep", syscall.SIGTERM, Status{Signal: syscall.SIGTERM}}, // the kernel would drop it for pid 1
		{"sleep", syscall.SIGINT, Status{Signal: syscall.SIGINT}},
		{"handle", syscall.SIGTERM, Status{Code: 42}},
		{"handle", syscall.SIGKILL, Status{Signal: syscall.SIGKILL}},
	} {
		t.Run(x.what+"-"+strconv.Itoa(int(x.sig)), func(t *testing.T) {
			s := newStage(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			c := s.config(child.Vfork, "probe", x.what)
			c.Stdio[1] = w
			k, err := Start(c)
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(r, make([]byte, 6))
			if err := k.Signal(x.sig); err != nil {
				t.Fatal(err)
			}
			if st, err := k.Wait(); err != nil || st.end() != x.want {
				t.Errorf("%+v, %v; want %+v", st, err, x.want)
			}
			if err := k.Signal(x.sig); err != nil {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestInit(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		c := s.config(mode, "probe", "look")
		c.Init = true
		v := s.look(c)
		if v.Pid == 1 || v.Ppid != 1 || len(v.Fds) > 6 {
			t.Errorf("pid %d, parent %d, descriptors %v: want a child of an init", v.Pid, v.Ppid, v.Fds)
		}
		for _, x := range []struct {
			args []string
			want Status
		}{{[]string{"probe", "exit", "7"}, Status{Code: 7}}, {[]string{"probe", "kill"}, Status{Code: 137}}, {[]string{"probe", "orphans"}, Status{Code: 0}}} {
			c := s.config(mode, x.args...)
			c.Init = true
			if st, out, err := s.run(c); err != nil || st.end() != x.want {
				t.Errorf("%q: %+v, %v; want %+v (%s)", x.args, st, err, x.want, out)
			}
		}
		c = s.config(mode, "nosuch")
		c.Init = true
		_, _, err := s.run(c)
		if e, ok := errors.AsType[*child.Error](err); !ok || !e.Exec || e.Errno != syscall.ENOENT {
			t.Errorf("a command that is not there: %v", err)
		}
	})
}

// A container's root must not be able to write to the host's umiak through /proc/1/exe.
func TestInitCannotBeWrittenTo(t *testing.T) {
	s := newStage(t)
	c := s.config(child.Vfork, "probe", "openexe")
	c.Init = true
	st, out, err := s.run(c)
	if err != nil || st.Code != 0 || out != "<nil> true\n" {
		t.Errorf("%+v, %v: %s", st, err, out)
	}
}

func TestPreserveFds(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		// Descriptor 3 is somebody else's in a test: a process of its own has it free.
		cmd := exec.Command("/proc/self/exe")
		s.config(mode, "probe", "fd3")
		cmd.Args = []string{"umiak-that-passes", s.base + " " + string(mode)}
		cmd.ExtraFiles, cmd.Stderr = []*os.File{w}, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if got, _ := io.ReadAll(r); string(got) != "through 3" {
			t.Errorf("descriptor 3 got %q", got)
		}
	})
}

func TestHandles(t *testing.T) {
	const status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004000\n"
	for s, want := range map[syscall.Signal]bool{syscall.SIGHUP: true, syscall.SIGTERM: true, syscall.SIGINT: false} {
		if got := handles(status, s); got != want {
			t.Errorf("%v: %v", s, got)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		limit := int64(100 << 20)
		s.options.Resources.Memory = &limit
		var noted []string
		c := s.config(mode, "probe", "eat")
		c.Note = func(p []string) error { noted = p; return nil }
		st, out, err := s.run(c)
		if err != nil {
			t.Fatal(err)
		}
		if st.Signal != syscall.SIGKILL || st.OOMKills == 0 {
			t.Errorf("%+v, output %q: the limit did not kill it", st, out)
		}
		if len(noted) == 0 {
			t.Error("no cgroup was noted for a sweep")
		}
		for _, p := range noted {
			if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left behind: %s (%v)", p, err)
			}
		}
	})
}

func TestPidsLimit(t *testing.T) {
	s := newStage(t)
	limit := int64(40)
	s.options.Resources.PidsLimit = &limit
	_, out, err := s.run(s.config(child.Vfork, "probe", "fork"))
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || n < 1 || n >= 40 {
		t.Errorf("started %q processes under a limit of 40 (%v)", out, err)
	}
}

func TestTerminal(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		s.options.Terminal = true
		pair, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer pair.Close()
		null, _ := os.Open(os.DevNull)
		defer null.Close()
		var out strings.Builder
		session, err := pty.Join(pair, null, &out)
		if err != nil {
			t.Fatal(err)
		}
		c := s.config(mode, "probe", "look")
		c.Terminal = pair
		k, err := Start(c)
		if err != nil {
			t.Fatal(err)
		}
		pair.CloseSlave()
		st, err := k.Wait()
		if err != nil || st.Code != 0 {
			t.Fatal(st, err)
		}
		if err := session.Close(); err != nil {
			t.Fatal(err)
		}
		var v view
		if err := json.Unmarshal([]byte(out.String()), &v); err != nil {
			t.Fatalf("%q: %v", out.String(), err)
		}
		if v.TTY != "/dev/pts/0" {
			t.Errorf("standard input is %q", v.TTY)
		}
		if !slices.Contains(v.Dev, "console") {
			t.Errorf("/dev has %v", v.Dev)
		}
	})
}

// TestDiesWithParent kills a umiak with SIGKILL and expects its container to go too.
func TestDiesWithParent(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			s := newStage(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			s.config(mode, "probe", "sleep") // for the directories
			cmd.Args = []string{"umiak-that-dies", s.base + " " + string(mode)}
			cmd.Stdout, cmd.Stderr = w, os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if _, err := io.ReadFull(r, make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
			cmd.Process.Kill()
			cmd.Wait()
			defer func() { // as the next start's sweep would
				paths, err := cgroup.PathsOf("dies-" + string(mode))
				if err := errors.Join(err, cgroup.Clean(paths)); err != nil {
					t.Error(err)
				}
			}()
			// The pipe ends when the last process that holds it is gone.
			r.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Errorf("the container lives on: %v", err)
			}
		})
	}
}

// thatPasses is a umiak whose descriptor 3 is for the command.
func thatPasses(arg string) {
	base, mode, _ := strings.Cut(arg, " ")
	sp, err := spec.New(spec.Image{}, spec.Files{}, spec.Options{ID: "passes-" + mode, Args: []string{"probe", "fd3"}, RootPath: filepath.Join(base, "state/1/root")})
	if err != nil {
		panic(err)
	}
	k, err := Start(Config{ID: "passes-" + mode, Spec: sp, Mode: child.Mode(mode), PreserveFds: 1, Overlay: &Overlay{Base: base, Lower: "roots/r/rootfs", Upper: "state/1/upper", Work: "state/1/work"}})
	if err != nil {
		panic(err)
	}
	if st, err := k.Wait(); err != nil || st.Code != 0 {
		panic(fmt.Sprint(st, err))
	}
}

// thatDies is a umiak that starts a container and then waits to be killed.
func thatDies(arg string) {
	base, mode, _ := strings.Cut(arg, " ")
	sp, err := spec.New(spec.Image{}, spec.Files{}, spec.Options{ID: "dies-" + mode, Args: []string{"probe", "sleep"}, RootPath: filepath.Join(base, "state/1/root")})
	if err != nil {
		panic(err)
	}
	k, err := Start(Config{ID: "dies-" + mode, Spec: sp, Mode: child.Mode(mode), Overlay: &Overlay{Base: base, Lower: "roots/r/rootfs", Upper: "state/1/upper", Work: "state/1/work"}})
	if err != nil {
		panic(err)
	}
	k.Wait()
}
