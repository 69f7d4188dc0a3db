package seccomp

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const childWait = "/seccomp-test-wait"

// TestRunc lets runc start a container with a profile, takes the filter out of the running process
// and compares it with ours, call by call.
func TestRunc(t *testing.T) {
	needsLibseccomp(t)
	if os.Getuid() != 0 {
		t.Skip("needs root: runc makes namespaces, and a filter can be read by root only")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("needs runc")
	}
	everything := specs.LinuxSyscall{Action: specs.ActAllow}
	for _, e := range syscallTable {
		everything.Names = append(everything.Names, e.name)
	}
	_, known := libseccomp(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{everything}}, reachable("amd64")[:1])
	docker := Default(dockerCaps, "amd64")
	for i := range docker.Syscalls { // the numbers of the newest calls decide where ENOSYS begins
		docker.Syscalls[i].Names = slices.DeleteFunc(docker.Syscalls[i].Names, func(n string) bool { return !slices.Contains(known, n) })
	}
	open := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64}, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"keyctl", "mount", "no_such_call"}, Action: specs.ActErrno, ErrnoRet: new(uint(5))},
		{Names: []string{"ioctl"}, Action: specs.ActKillProcess, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 0x5412, Op: specs.OpEqualTo}}},
	}}
	for name, s := range map[string]*specs.LinuxSeccomp{"docker": docker, "open": open} {
		t.Run(name, func(t *testing.T) {
			theirs := runcFilter(t, s)
			p, err := Compile(s, "amd64")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d instructions, runc %d", p.Len(), len(theirs))
			for c := range newJudge(s, "amd64").calls(append(defaultArgs(), [6]uint64{0, 0x5412})) {
				got, _, err1 := execute(insns(p.Filter), c)
				want, _, err2 := execute(theirs, c)
				if got != want || err1 != nil || err2 != nil {
					t.Fatalf("%+v: %#x, of runc %#x (%v, %v)", c, got, want, err1, err2)
				}
			}
		})
	}
}

// wait is the program in runc's container.
func wait() {
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// runcFilter starts a container and returns its filter.
func runcFilter(t *testing.T, s *specs.LinuxSeccomp) []unix.SockFilter {
	t.Helper()
	bundle := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := elf.NewFile(bytes.NewReader(self)); err != nil || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Skip("needs a static test binary, as one without -race is")
	}
	config, err := json.Marshal(&specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{childWait}, Cwd: "/", NoNewPrivileges: true},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{Seccomp: s, Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Mkdir(filepath.Join(bundle, "rootfs"), 0o755),
		os.Mkdir(filepath.Join(bundle, "rootfs/proc"), 0o755),
		os.WriteFile(filepath.Join(bundle, "rootfs", childWait), self, 0o755),
		os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	pidFile := filepath.Join(bundle, "pid")
	cmd := exec.Command("runc", "--root", filepath.Join(bundle, "state"), "run", "--pid-file", pidFile, "--bundle", bundle,
		fmt.Sprintf("umiak-seccomp-test-%d", os.Getpid()))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil || err1 != nil || err2 != nil {
		t.Fatal(err, err1, err2)
	}
	defer func() {
		in.Close() // the container reads its end, and runc removes it
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, stderr.Bytes())
		}
	}()
	ready := make([]byte, 5)
	if _, err := out.Read(ready); err != nil || string(ready) != "ready" {
		t.Fatalf("the container said %q: %v: %s", ready, err, stderr.Bytes())
	}
	for range 1000 { // runc writes the file when it likes
		b, _ := os.ReadFile(pidFile)
		if pid, err := strconv.Atoi(string(b)); err == nil {
			return readFilter(t, pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("runc says no pid")
	return nil
}

// readFilter takes the newest filter out of a process.
func readFilter(t *testing.T, pid int) []unix.SockFilter {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		t.Fatal(err)
	}
	defer unix.PtraceDetach(pid)
	if err := unix.PtraceInterrupt(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	n, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), 0, 0, 0, 0)
	if e != 0 {
		t.Skipf("needs a kernel with CONFIG_CHECKPOINT_RESTORE: %v", e)
	}
	code := make([]unix.SockFilter, n)
	if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), 0, uintptr(unsafe.Pointer(&code[0])), 0, 0); e != 0 {
		t.Fatal(e)
	}
	return code
}
