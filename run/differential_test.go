package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/pty"
	"github.com/umiak/umiak/run/seccomp"
	"github.com/umiak/umiak/run/spec"
)

// variant is a set of options: the same spec of it is run by every runtime.
type variant struct {
	name   string
	change func(s *stage)
	files  []string // whose content is looked at inside
}

func variants() []variant {
	return []variant{
		{"default", func(*stage) {}, nil},
		{"user", func(s *stage) {
			s.files = spec.Files{Passwd: []byte("u:x:1000:1001::/home/u:/bin/sh\n"), Group: []byte("g:x:1001:\nextra:x:1234:u\n")}
			s.options.User, s.options.WorkingDir, s.options.GroupAdd = "u", "/tmp/here", []string{"27"}
		}, nil},
		{"no new privileges", func(s *stage) { s.options.NoNewPrivileges = true }, nil},
		{"user without privileges", func(s *stage) {
			s.options.User, s.options.NoNewPrivileges, s.options.Seccomp = "1000:1000", true, defaultSeccomp
		}, nil},
		{"no capabilities", func(s *stage) { s.options.CapDrop = []string{"ALL"} }, nil},
		{"more capabilities", func(s *stage) { s.options.CapAdd = []string{"NET_ADMIN", "SYS_PTRACE"} }, nil},
		{"read-only", func(s *stage) { s.options.ReadOnly, s.options.ReadOnlyTmpfs = true, true }, nil},
		{"network", func(s *stage) {
			s.options.Network, s.options.Hostname, s.options.Domainname = "none", "boat", "example.org"
			s.options.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "kernel.msgmax": "4096"}
		}, []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/kernel/msgmax"}},
		{"seccomp", func(s *stage) { s.options.Seccomp = defaultSeccomp }, nil},
		{"privileged", func(s *stage) { s.options.Privileged, s.options.Bounding = true, ownBounding(s.t) }, nil},
		{"limits", func(s *stage) {
			s.options.Resources.Memory, s.options.Resources.PidsLimit = new(int64(256<<20)), new(int64(64))
			s.options.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE"}, {Type: "RLIMIT_FSIZE", Soft: 1 << 30, Hard: 1 << 31}}
			s.options.OOMScoreAdj, s.options.Umask = new(500), new(uint32(0o77))
		}, []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max"}},
		{"mounts", func(s *stage) {
			src := filepath.Join(s.base, "source")
			s.mkdir("source")
			s.write("source/f", "data", 0o644)
			s.options.ShmSize = 1 << 20
			for _, v := range []string{src + ":/ro:ro", src + ":/noexec:noexec,nosuid,nodev", src + ":/made/of/parts", src + ":/shared:rshared", src + ":/slave:rslave", src + ":/flat:bind,private"} {
				m, err := spec.ParseVolume(v)
				s.volume(m, err)
			}
			// Not rro, which this crun can't do to a file.
			m, err := spec.ParseMount("type=bind,src=" + src + "/f,dst=/file,readonly,bind-recursive=writable")
			s.volume(m, err)
			m, err = spec.ParseTmpfs("/scratch:exec,size=64k,mode=700")
			s.volume(m, err)
		}, []string{"/ro/f", "/file", "/made/of/parts/f"}},
		{"devices", func(s *stage) {
			s.options.Devices = []spec.Device{
				{LinuxDevice: specs.LinuxDevice{Path: "/dev/x/zero", Type: "c", Major: 1, Minor: 5, FileMode: new(os.FileMode(0o640)), UID: new(uint32(7)), GID: new(uint32(8))}, Access: "rwm"},
				{LinuxDevice: specs.LinuxDevice{Path: "/dev/plain", Type: "c", Major: 1, Minor: 3}, Access: "rwm"},
			}
		}, nil},
		{"opened", func(s *stage) {
			s.options.Security = spec.Security{Unmask: []string{"/proc/timer_list", "/proc/sys"}, Mask: []string{"/bin/hidden"}}
			s.file("bin/hidden", "secret", 0o644)
		}, []string{"/bin/hidden"}},
		{"shared namespaces", func(s *stage) {
			s.options.Namespaces = spec.Namespaces{IPC: "host", UTS: "host", Cgroup: "host"}
		}, nil},
		{"terminal", func(s *stage) { s.options.Terminal = true }, nil},
		{"terminal of a user", func(s *stage) { s.options.Terminal, s.options.User = true, "1000:1000" }, nil},
	}
}

func defaultSeccomp(bounding []string) (*specs.LinuxSeccomp, error) {
	return seccomp.Default(bounding, runtime.GOARCH), nil
}

func ownBounding(t *testing.T) uint64 {
	for line := range strings.Lines(read("/proc/self/status")) {
		var n uint64
		if _, err := fmt.Sscanf(line, "CapBnd: %x", &n); err == nil {
			return n
		}
	}
	t.Fatal("no CapBnd")
	return 0
}

func (s *stage) volume(m spec.Mount, err error) {
	if err != nil {
		s.t.Fatal(err)
	}
	m.HostPath = m.Source
	s.options.Volumes = append(s.options.Volumes, m)
}

// TestAgainstOtherRuntimes runs one spec with runc, crun and umiak, and compares what a program
// sees inside. What differs is in the list of differences, with a reason, and in README.md.
func TestAgainstOtherRuntimes(t *testing.T) {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("needs cgroup v1 or a hybrid: the list of differences is of such a machine")
	}
	seen := map[string]bool{}
	ran := map[string]int{}
	all := variants()
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			s := newStage(t)
			addCanaryKey(t)
			v.change(s)
			ours := s.ourFacts(v, child.Vfork)
			for _, d := range diff(ours, s.ourFacts(v, child.Reexec)) {
				t.Errorf("the two ways to start a child differ: %v", d)
			}
			for _, name := range []string{"runc", "crun"} {
				t.Run(name, func(t *testing.T) {
					for _, found := range diff(ours, s.theirFacts(t, v, name)) {
						d := slices.IndexFunc(differences, func(d difference) bool { return d.covers(name, found) })
						if d < 0 {
							t.Errorf("not in the list of differences: %v", found)
							continue
						}
						seen[fmt.Sprint(name, d)] = true
					}
					ran[name]++
				})
			}
		})
	}
	if t.Failed() {
		return
	}
	for i, d := range differences {
		for _, name := range strings.Fields(d.runtimes) {
			if ran[name] == len(all) && !seen[fmt.Sprint(name, i)] && (d.where == nil || d.where()) {
				t.Errorf("in the list of differences, and no longer so: %s: %s", name, d.fact)
			}
		}
	}
}

// found is a fact that differs.
type found struct{ fact, ours, theirs string }

func (f found) String() string { return fmt.Sprintf("%s: %q, theirs %q", f.fact, f.ours, f.theirs) }

func diff(ours, theirs facts) []found {
	var out []found
	all := maps.Clone(ours)
	maps.Copy(all, theirs)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if ours[k] != theirs[k] {
			out = append(out, found{k, ours[k], theirs[k]})
		}
	}
	return out
}

// covers says whether a difference that was found is this one.
func (d difference) covers(runtime string, f found) bool {
	return slices.Contains(strings.Fields(d.runtimes), runtime) && like(d.fact, f.fact) && like(d.ours, f.ours) && like(d.theirs, f.theirs)
}

// like compares with a pattern in which * is any text.
func like(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	s, ok := strings.CutPrefix(s, first)
	if !star {
		return ok && s == ""
	}
	for i := range len(s) + 1 {
		if ok && like(rest, s[i:]) {
			return true
		}
	}
	return false
}

// TestDifferencesAreWritten: README.md says what the list says.
func TestDifferencesAreWritten(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "|---|---|---|---|---|\n")
	var want strings.Builder
	for _, d := range differences {
		fmt.Fprintf(&want, "| %s | %s | %s | %s | %s |\n", d.what, strings.ReplaceAll(d.runtimes, " ", ", "), quoted(d.ours), quoted(d.theirs), d.why)
	}
	if table != want.String() {
		t.Errorf("README.md has another table than differences_test.go, which is this:\n%s", want.String())
	}
}

func quoted(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

// addCanaryKey puts a key where nobody inside may find it.
func addCanaryKey(t *testing.T) {
	t.Helper()
	id, err := unix.AddKey("user", canaryKey, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		t.Skip("needs kernel keyrings: ", err)
	}
	t.Cleanup(func() { unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_SESSION_KEYRING, 0, 0) })
}

// specFor makes the spec of a variant on a root of its own.
func (s *stage) specFor(v variant) *specs.Spec {
	s.runs++
	root := filepath.Join(s.base, fmt.Sprint("rootfs", s.runs))
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names(filepath.Join(s.root(), "bin")) {
		if err := os.Link(filepath.Join(s.root(), "bin", name), filepath.Join(root, "bin", name)); err != nil {
			s.t.Fatal(err)
		}
	}
	q := question{Namespaces: map[string]string{}, Files: v.files}
	for _, n := range names("/proc/self/ns") {
		q.Namespaces[n], _ = os.Readlink("/proc/self/ns/" + n)
	}
	o := s.options
	o.RootPath, o.Args = root, []string{"probe", "facts"}
	sp, err := spec.New(s.image, s.files, o)
	if err != nil {
		s.t.Fatal(err)
	}
	plain, err := spec.New(s.image, s.files, spec.Options{ID: o.ID, RootPath: root, Args: o.Args})
	if err != nil {
		s.t.Fatal(err)
	}
	q.Paths = slices.Compact(slices.Sorted(slices.Values(slices.Concat(plain.Linux.MaskedPaths, plain.Linux.ReadonlyPaths, sp.Linux.MaskedPaths))))
	arg, err := json.Marshal(q)
	if err != nil {
		s.t.Fatal(err)
	}
	sp.Process.Args = append(sp.Process.Args, string(arg))
	return sp
}

func (s *stage) ourFacts(v variant, mode child.Mode) facts {
	s.t.Helper()
	c := Config{ID: s.options.ID, Spec: s.specFor(v), Mode: mode}
	null, err := os.Open(os.DevNull)
	if err != nil {
		s.t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c.Stdio[0], c.Stdio[2] = null, w
	var out string
	var st Status
	if s.options.Terminal {
		out, st, err = s.runTerminal(c)
	} else {
		st, out, err = s.run(c)
	}
	if err != nil || st.Code != 0 || st.Signal != 0 {
		s.t.Fatalf("%+v, %v, output %q", st, err, out)
	}
	return readFacts(s.t, out)
}

func readFacts(t *testing.T, out string) facts {
	t.Helper()
	var f facts
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	return f
}

func (s *stage) runTerminal(c Config) (string, Status, error) {
	pair, err := pty.Open()
	if err != nil {
		return "", Status{}, err
	}
	defer pair.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", Status{}, err
	}
	defer null.Close()
	var out strings.Builder
	session, err := pty.Join(pair, null, &out)
	if err != nil {
		return "", Status{}, err
	}
	c.Terminal = pair
	k, err := Start(c)
	if err != nil {
		return "", Status{}, err
	}
	pair.CloseSlave()
	st, err := k.Wait()
	err = errors.Join(err, session.Close()) // which has read all that was written
	return out.String(), st, err
}

// peers are the runtimes, of those versions whose differences are listed: Debian 12's.
var peers = map[string]string{"runc": "1.1", "crun": "1.8"}

func peer(t *testing.T, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skip("needs " + name)
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), name+" version "+peers[name]+".") {
		t.Skipf("needs %s %s: this is %.20s", name, peers[name], out)
	}
	return program
}

// theirFacts runs the same spec as a bundle.
func (s *stage) theirFacts(t *testing.T, v variant, name string) facts {
	t.Helper()
	program := peer(t, name)
	sp := s.specFor(v)
	if name == "crun" {
		sp.Version = "1.0.2" // crun before 1.9 takes no other
	}
	b, err := json.Marshal(sp)
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, s.options.ID + "-" + name}
	cmd := exec.Command(program, args...)
	if name == "crun" {
		// It refuses a machine with both versions of cgroups: hide the second.
		const hide = `if [ -d /sys/fs/cgroup/unified ]; then mount --make-rprivate /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; fi && exec "$@"`
		cmd = exec.Command("/bin/sh", append([]string{"-c", hide, "sh", program}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	out := runBundle(t, cmd, sp.Process.Terminal)
	return readFacts(t, out)
}

// runBundle runs a runtime, which wants a terminal of its own to give one.
func runBundle(t *testing.T, cmd *exec.Cmd, terminal bool) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	end := func() {}
	if terminal {
		pair, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer pair.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = pair.Slave, pair.Slave, pair.Slave
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
		done := make(chan struct{})
		go func() { defer close(done); io.Copy(&stdout, pair.Master) }()
		end = func() { pair.CloseSlave(); <-done } // until all that was written has been read
	}
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	end()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}
