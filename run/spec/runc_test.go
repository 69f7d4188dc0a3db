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
	Status                map[string]string
	Nofile, Fsize         syscall.Rlimit
}

func probe() {
	f := facts{Pid: os.Getpid(), Uid: os.Getuid(), Gid: os.Getgid(), Env: os.Environ(), Status: map[string]string{}}
	f.Hostname, _ = os.Hostname()
	f.Cwd, _ = os.Getwd()
	f.Groups, _ = os.Getgroups()
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		f.Mounts = append(f.Mounts, strings.Fields(line)[1])
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		f.Status[key] = strings.TrimSpace(value)
	}
	if info, err := os.Stat("/proc/interrupts"); err == nil {
		f.Masked = info.Mode().Type().String()
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
	got := runRunc(t, img, files, o)

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

// runRunc runs the probe in a bundle of its own.
func runRunc(t *testing.T, img Image, files Files, o Options) (got facts) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: runc makes namespaces and mounts")
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc")
	}
	bundle := t.TempDir()
	o.RootPath = filepath.Join(bundle, "rootfs")
	copyProbe(t, o.RootPath)
	writeConfig(t, bundle, mustNew(t, img, files, o))

	var stdout, stderr bytes.Buffer
	cmd := exec.Command(runc, "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, o.ID)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("runc refuses the spec: %v\n%s", err, stderr.Bytes())
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
