package spec

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const probePath = "/probe"

func TestMain(m *testing.M) {
	if os.Args[0] == probePath {
		probe()
		return
	}
	os.Exit(m.Run())
}

// facts are what the probe, this test's own binary, finds inside.
type facts struct {
	Hostname, Cwd, Masked string
	Pid, Uid, Gid         int
	Groups                []int
	Env, Mounts           []string
	Options               map[string]string // of the mounts
	Status                map[string]string
	Files                 map[string]string // those named as arguments
	Devices               map[string]uint64
	Nofile, Fsize         syscall.Rlimit
}

func probe() {
	f := facts{Pid: os.Getpid(), Uid: os.Getuid(), Gid: os.Getgid(), Env: os.Environ(), Options: map[string]string{}, Status: map[string]string{}, Files: map[string]string{}, Devices: map[string]uint64{}}
	f.Hostname, _ = os.Hostname()
	f.Cwd, _ = os.Getwd()
	f.Groups, _ = os.Getgroups()
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		f.Mounts = append(f.Mounts, strings.Fields(line)[1])
		f.Options[strings.Fields(line)[1]] = strings.Fields(line)[3]
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		f.Status[key] = strings.TrimSpace(value)
	}
	if info, err := os.Stat("/proc/interrupts"); err == nil {
		f.Masked = info.Mode().Type().String()
	}
	for _, name := range os.Args[1:] {
		var st syscall.Stat_t
		if syscall.Stat(name, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFCHR {
			f.Devices[name] = st.Rdev
			continue
		}
		content, err := os.ReadFile(name)
		f.Files[name] = strings.TrimSpace(string(content))
		if err != nil {
			f.Files[name] = err.Error()
		}
	}
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &f.Nofile)
	syscall.Getrlimit(syscall.RLIMIT_FSIZE, &f.Fsize)
	json.NewEncoder(os.Stdout).Encode(f)
}

// TestRunc lets another runtime read our spec: it must accept it, and what it
// makes of it is what was meant.
func TestRunc(t *testing.T) {
	img, files, o := alpine()
	o.ID = fmt.Sprintf("umiak-spec-test-%d", os.Getpid())
	o.Args, o.Network, o.NofileHard = []string{probePath}, "none", 2048
	o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_FSIZE", Soft: 1 << 20, Hard: 1 << 21}}
	img.User, img.WorkingDir = "bin", "/srv/data"
	got := runRuntime(t, "runc", img, files, o)

	if got.Pid != 1 || got.Hostname != o.ID || got.Cwd != "/srv/data" || got.Uid != 1 || got.Gid != 1 {
		t.Errorf("pid, host name, directory or ids: %+v", got)
	}
	if !slices.Equal(got.Groups, []int{1, 2}) {
		t.Errorf("groups %v, want 1 and 2", got.Groups)
	}
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if strings.Trim(got.Status[key], "0") != "" {
			t.Errorf("%s is %s for a user who isn't root", key, got.Status[key])
		}
	}
	if want := fmt.Sprintf("%016x", 0xa80425fb&^(1<<27)); got.Status["CapBnd"] != want {
		t.Errorf("CapBnd is %s, want %s", got.Status["CapBnd"], want)
	}
	if got.Masked != (os.ModeDevice | os.ModeCharDevice).String() {
		t.Errorf("/proc/interrupts is %q and not masked", got.Masked)
	}
	// A Go program raises its soft limit of open files when it starts.
	if got.Nofile.Max != 2048 || got.Fsize.Cur != 1<<20 || got.Fsize.Max != 1<<21 {
		t.Errorf("limits: open files %+v, size of files %+v", got.Nofile, got.Fsize)
	}
	for _, m := range defaultMounts(0) {
		if !slices.Contains(got.Mounts, m.Destination) {
			t.Errorf("%s is not mounted: %v", m.Destination, got.Mounts)
		}
	}
	if want := mustNew(t, img, files, o).Process.Env; !slices.Equal(got.Env, want) {
		t.Errorf("environment %q, want %q", got.Env, want)
	}
}

// TestRuntimes: what the flags ask for is what runc and crun make of the spec.
func TestRuntimes(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) { testRuntime(t, runtime) })
	}
}

func testRuntime(t *testing.T, runtime string) {
	img, files, o := alpine()
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "f"), []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	parsed := func(m Mount, err error) Mount {
		if err != nil {
			t.Fatal(err)
		}
		m.HostPath = source
		return m
	}
	o.ID = fmt.Sprintf("umiak-spec-%s-%d", runtime, os.Getpid())
	o.Network, o.ReadOnly, o.ReadOnlyTmpfs, o.Domainname, o.NofileHard = "none", true, true, "example.org", 2048
	o.Volumes = []Mount{
		parsed(ParseVolume(source + ":/ro:ro,noexec")), parsed(ParseVolume("vol:/rw")),
		parsed(ParseTmpfs("/scratch:exec,size=64k,mode=700")),
		parsed(ParseMount("type=bind,src=" + source + ",dst=/rslave,bind-propagation=rslave")),
		parsed(ParseVolume(source + ":/shared:rshared")),
	}
	o.Umask, o.OOMScoreAdj = new(uint32(0o77)), new(500)
	o.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_forward": "1"}
	o.Security.Unmask, o.Security.Mask, o.Security.NoNewPrivileges = []string{"/proc/interrupts"}, []string{"/ro/f"}, true
	o.Devices = []Device{{specs.LinuxDevice{Path: "/dev/x", Type: "c", Major: 1, Minor: 5}, "rwm"}}
	o.Environment.UnsetAll, o.Env = true, []string{"A=1"}
	o.Args = []string{probePath, "/rw/f", "/ro/f", "/dev/x", "/proc/sys/kernel/domainname", "/proc/sys/kernel/shm_rmid_forced",
		"/proc/sys/net/ipv4/ip_forward", "/proc/self/oom_score_adj"}
	got := runRuntime(t, runtime, img, files, o)

	for name, want := range map[string]string{
		"/rw/f": "data", "/proc/sys/kernel/shm_rmid_forced": "1", "/proc/sys/net/ipv4/ip_forward": "1", "/proc/self/oom_score_adj": "500",
		"/proc/sys/kernel/domainname": "example.org",
	} {
		if runtime == "runc" && name == "/proc/sys/kernel/domainname" {
			continue // this version does not know of the field
		}
		if got.Files[name] != want {
			t.Errorf("%s is %q, want %q", name, got.Files[name], want)
		}
	}
	// A mask is /dev/null, mounted over the file.
	for name, want := range map[string]uint64{"/dev/x": 1<<8 | 5, "/ro/f": 1<<8 | 3} {
		if got.Devices[name] != want {
			t.Errorf("%s is device %d, want %d", name, got.Devices[name], want)
		}
	}
	for dest, want := range map[string]string{
		"/": "ro", "/ro": "ro,noexec", "/rw": "rw", "/rslave": "rw", "/shared": "rw", "/scratch": "rw,nosuid,nodev,size=64k,mode=700",
		"/run": "rw,nosuid,nodev,mode=755", "/tmp": "rw,nosuid,nodev", "/var/tmp": "rw",
	} {
		have := strings.Split(got.Options[dest], ",")
		for opt := range strings.SplitSeq(want, ",") {
			if !slices.Contains(have, opt) {
				t.Errorf("%s is mounted %s, want %s", dest, got.Options[dest], want)
			}
		}
	}
	if slices.Contains(strings.Split(got.Options["/scratch"], ","), "noexec") {
		t.Errorf("/scratch is mounted %s", got.Options["/scratch"])
	}
	if got.Status["Umask"] != "0077" || got.Status["NoNewPrivs"] != "1" || got.Masked != "" && got.Masked != "----------" {
		t.Errorf("umask %s, no_new_privs %s, /proc/interrupts %q", got.Status["Umask"], got.Status["NoNewPrivs"], got.Masked)
	}
	if !slices.Equal(slices.DeleteFunc(got.Env, func(s string) bool { return strings.HasPrefix(s, "HOME=") }), []string{"A=1"}) {
		t.Errorf("environment %q", got.Env) // a runtime may add HOME
	}
}

// TestPrivileged: everything that --privileged opens is open in runc and crun.
func TestPrivileged(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			img, files, o := alpine()
			o.ID = fmt.Sprintf("umiak-spec-priv-%s-%d", runtime, os.Getpid())
			o.Privileged, o.Network, o.NofileHard = true, "none", 2048
			o.Namespaces = Namespaces{IPC: "host", Cgroup: "host"}
			host := hostStatus(t)
			if _, err := fmt.Sscanf(host["CapBnd"], "%x", &o.Bounding); err != nil {
				t.Fatal(err)
			}
			o.HostDevices = []Device{{specs.LinuxDevice{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}, "rwm"}}
			o.Args = []string{probePath, "/dev/kmsg"}
			got := runRuntime(t, runtime, img, files, o)
			if got.Devices["/dev/kmsg"] != 1<<8|11 {
				t.Errorf("devices %v", got.Devices)
			}
			for _, dest := range []string{"/sys", "/proc"} {
				if !strings.HasPrefix(got.Options[dest], "rw,") {
					t.Errorf("%s is mounted %s", dest, got.Options[dest])
				}
			}
			if got.Status["CapBnd"] != host["CapBnd"] || got.Status["CapEff"] != host["CapBnd"] || got.Masked != "----------" {
				t.Errorf("capabilities %s of %s, masked %q", got.Status["CapEff"], host["CapBnd"], got.Masked)
			}
		})
	}
}

func hostStatus(t *testing.T) map[string]string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		out[key] = strings.TrimSpace(value)
	}
	return out
}

// runRuntime runs the probe in a bundle of its own.
func runRuntime(t *testing.T, name string, img Image, files Files, o Options) (got facts) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: runtimes make namespaces and mounts")
	}
	runtime, err := exec.LookPath(name)
	if err != nil {
		t.Skip("needs " + name)
	}
	bundle := t.TempDir()
	o.RootPath = filepath.Join(bundle, "rootfs")
	copyProbe(t, o.RootPath)
	s := mustNew(t, img, files, o)
	if name == "crun" {
		s.Version = "1.0.2" // crun before 1.9 takes no other
	}
	writeConfig(t, bundle, s)

	var stdout, stderr bytes.Buffer
	args := []string{"--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, o.ID}
	cmd := exec.Command(runtime, args...)
	if name == "crun" {
		// It refuses a machine with both versions of cgroups: hide the second.
		const hide = `mount --make-rprivate / && if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi && exec "$@"`
		args = append([]string{"-c", hide, "sh", runtime, "--cgroup-manager=disabled"}, args...)
		cmd = exec.Command("/bin/sh", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s refuses the spec: %v\n%s", name, err, stderr.Bytes())
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v: %q, %q", err, stdout.Bytes(), stderr.Bytes())
	}
	return got
}

func copyProbe(t *testing.T, root string) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.NewFile(bytes.NewReader(self))
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(binary.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Skip("needs a static test binary, as one without -race is")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	// The temporary directory is root's alone; the probe runs as another.
	if err := os.WriteFile(filepath.Join(root, probePath), self, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeConfig(t *testing.T, bundle string, s *specs.Spec) {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
}
