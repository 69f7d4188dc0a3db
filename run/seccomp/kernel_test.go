package seccomp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// install puts a filter on the calling thread, which the caller holds.
func install(p *Program) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	f := unix.SockFprog{Len: uint16(p.Len()), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(p.Filter)))}
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(p.Flags), uintptr(unsafe.Pointer(&f))); e != 0 {
		return e
	}
	return nil
}

// A probe is a call that tells by its error whether a filter let it through. All harm nothing.
type probe struct {
	name string
	nr   uintptr
	args [3]uintptr
	want unix.Errno // with docker's profile
}

var probes = []probe{
	{"getpid", unix.SYS_GETPID, [3]uintptr{}, 0},
	{"mount", unix.SYS_MOUNT, [3]uintptr{}, unix.EPERM},
	{"umount2", unix.SYS_UMOUNT2, [3]uintptr{}, unix.EPERM},
	{"unshare of nothing", unix.SYS_UNSHARE, [3]uintptr{}, unix.EPERM},
	{"setns", unix.SYS_SETNS, [3]uintptr{^uintptr(0)}, unix.EPERM},
	{"keyctl", unix.SYS_KEYCTL, [3]uintptr{9999}, unix.EPERM},
	{"bpf", unix.SYS_BPF, [3]uintptr{9999}, unix.EPERM},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [3]uintptr{}, unix.EPERM},
	{"clone3", unix.SYS_CLONE3, [3]uintptr{}, unix.ENOSYS},
	{"ptrace of nobody", unix.SYS_PTRACE, [3]uintptr{unix.PTRACE_CONT, 1 << 22}, unix.ESRCH},
	{"personality of Linux", unix.SYS_PERSONALITY, [3]uintptr{0xffffffff}, 0},
	{"personality without address randomization", unix.SYS_PERSONALITY, [3]uintptr{0x40000}, unix.EPERM},
	{"socket of AF_UNIX", unix.SYS_SOCKET, [3]uintptr{unix.AF_UNIX, unix.SOCK_STREAM}, 0},
	{"socket of AF_VSOCK", unix.SYS_SOCKET, [3]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EPERM},
	{"socket of AF_ALG", unix.SYS_SOCKET, [3]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EPERM},
	{"openat2 of nothing", unix.SYS_OPENAT2, [3]uintptr{}, unix.EINVAL},
	{"listns, newer than the profile", unix.SYS_LISTNS, [3]uintptr{}, unix.ENOSYS},
	{"9999", 9999, [3]uintptr{}, unix.ENOSYS},
}

const (
	childProbes = "seccomp-test-probes"
	childExec   = "seccomp-test-exec"
)

// TestMain makes the test binary the child of its own tests.
func TestMain(m *testing.M) {
	if os.Args[0] == childWait {
		wait()
	}
	if len(os.Args) == 3 && (os.Args[0] == childProbes || os.Args[0] == childExec) {
		child(os.Args[0], os.Args[1], os.Args[2])
	}
	os.Exit(m.Run())
}

func child(what, profile, program string) {
	runtime.LockOSThread()
	var s *specs.LinuxSeccomp
	if err := json.Unmarshal([]byte(profile), &s); err != nil {
		panic(err)
	}
	if s != nil {
		p, err := Compile(s, runtime.GOARCH)
		if err != nil {
			panic(err)
		}
		if err := install(p); err != nil {
			panic(err)
		}
	}
	if what == childExec {
		panic(unix.Exec(program, []string{program}, nil))
	}
	var errnos []unix.Errno
	for _, p := range probes {
		_, _, e := unix.RawSyscall(p.nr, p.args[0], p.args[1], p.args[2])
		errnos = append(errnos, e)
	}
	if err := json.NewEncoder(os.Stdout).Encode(errnos); err != nil {
		panic(err)
	}
	os.Exit(0)
}

func start(t *testing.T, what string, s *specs.LinuxSeccomp, program string) (string, error) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", string(b), program)
	cmd.Args[0] = what
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() == 2) {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	return string(out), err
}

func probeAll(t *testing.T, s *specs.LinuxSeccomp) (errnos []unix.Errno) {
	t.Helper()
	out, err := start(t, childProbes, s, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &errnos); err != nil || len(errnos) != len(probes) {
		t.Fatalf("%q: %v", out, err)
	}
	return errnos
}

// TestKernel asks the kernel itself.
func TestKernel(t *testing.T) {
	free, got := probeAll(t, nil), probeAll(t, Default(dockerCaps, runtime.GOARCH))
	stopped := 0
	for i, p := range probes {
		t.Logf("%s: %v, without filter %v", p.name, got[i], free[i])
		if got[i] != p.want {
			t.Errorf("%s: %v, want %v", p.name, got[i], p.want)
		}
		if got[i] != free[i] {
			stopped++
		}
	}
	if stopped < 6 { // root meets most walls only because of the filter, others have more of their own
		t.Errorf("only %d calls met the filter", stopped)
	}
	admin := probeAll(t, Default(append(slices.Clone(dockerCaps), "CAP_SYS_ADMIN"), runtime.GOARCH))
	for i, p := range probes {
		if slices.Contains([]string{"mount", "umount2", "unshare of nothing", "clone3"}, p.name) && admin[i] != free[i] {
			t.Errorf("%s with CAP_SYS_ADMIN: %v, without filter %v", p.name, admin[i], free[i])
		}
	}
}

// program386 is a program for i386 that makes one call and exits with its error.
func program386(nr uint32) []byte {
	const base, head = 0x8048000, 52 + 32
	code := []byte{0xb8}
	code = binary.LittleEndian.AppendUint32(code, nr)                               // mov eax, nr
	code = append(code, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff, // xor ebx, ecx, edx, esi, edi
		0xcd, 0x80, // int 0x80
		0xf7, 0xd8, 0x89, 0xc3, // neg eax; mov ebx, eax
		0xb8, 1, 0, 0, 0, 0xcd, 0x80) // exit(ebx)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x01\x01\x01")
	b.Write(make([]byte, 9))
	size := uint32(head + len(code))
	for _, v := range []any{uint16(2), uint16(3), uint32(1), uint32(base + head), uint32(52), uint32(0), uint32(0),
		uint16(52), uint16(32), uint16(1), uint16(0), uint16(0), uint16(0), // no sections
		uint32(1), uint32(0), uint32(base), uint32(base), size, size, uint32(5), uint32(0x1000)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(code)
	return b.Bytes()
}

// TestI386 makes calls by the other door into the kernel.
func TestI386(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64")
	}
	profile := Default(dockerCaps, "amd64")
	without := Default(dockerCaps, "amd64")
	without.Architectures = nil
	ipc := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: new(uint(77))}}}
	for _, x := range []struct {
		name   string
		s      *specs.LinuxSeccomp
		nr     uint32
		status int
	}{
		{"setfsuid(0)", profile, 138, 0}, // 0 as it does not return an error number
		{"mount", profile, 21, int(unix.EPERM)},
		{"a newer call", profile, 470, int(unix.ENOSYS)},
		{"socket forbidden", ipc, 359, 77},
		{"any call where i386 is not listed", without, 138, -1},
	} {
		file := t.TempDir() + "/i386"
		if err := os.WriteFile(file, program386(x.nr), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command(file).Run(); errors.Is(err, unix.ENOEXEC) {
			t.Skip("needs a kernel that runs programs for i386")
		}
		_, err := start(t, childExec, x.s, file)
		status := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			status = exit.ExitCode() // -1 for a signal
		}
		if status != x.status {
			t.Errorf("%s: status %d, want %d", x.name, status, x.status)
		}
	}
}

// BenchmarkInstall measures what a run pays for its filter: the kernel checks, translates and tries it.
func BenchmarkInstall(b *testing.B) {
	for name, s := range map[string]*specs.LinuxSeccomp{
		"docker": Default(dockerCaps, runtime.GOARCH), "nearly nothing": {DefaultAction: specs.ActAllow},
	} {
		b.Run(name, func(b *testing.B) { benchmarkInstall(b, s) })
	}
}

func benchmarkInstall(b *testing.B, s *specs.LinuxSeccomp) {
	p, err := Compile(s, runtime.GOARCH)
	if err != nil {
		b.Fatal(err)
	}
	var all []time.Duration
	for b.Loop() {
		var wait sync.WaitGroup
		wait.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends with the goroutine, and the filter with it
			at := time.Now()
			err = install(p)
			all = append(all, time.Since(at))
		})
		wait.Wait()
		if err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(p.Len()), "insns")
}
