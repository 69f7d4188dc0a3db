package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests of this file use the kernel's own cgroups, as root or as a user who
// has some delegated. The test binary
// serves as the program under limits, so that it can run, compiled, in a virtual
// machine that has other cgroups and no Go.

const roleVar = "UMIAK_CGROUP_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "hungry":
		hungry()
	case "busy":
		for start := time.Now(); time.Since(start) < 700*time.Millisecond; {
		}
	case "main thread":
		mainThread(os.Args[1])
	case "starter":
		starter(os.Args[1])
	default:
		os.Exit(m.Run())
	}
}

// hungry takes 2 MiB each 2 ms and touches it, up to 64 MiB.
func hungry() {
	var held [][]byte
	for range 32 {
		b := bytes.Repeat([]byte{1}, 2<<20)
		held = append(held, b)
		time.Sleep(2 * time.Millisecond)
	}
	fmt.Println("ate", len(held))
}

// starter starts a shell in a group, with a child of its own, and waits to be killed.
func starter(name string) {
	g, err := New(name, pids(20))
	if err == nil {
		cmd := exec.Command("/bin/sh", "-c", "sleep 60 & echo $!; wait")
		cmd.Stdout = os.Stdout
		err = born(g, cmd)
	}
	fmt.Println(strings.Join(g.Paths(), " "), err)
	time.Sleep(time.Minute)
}

// born starts cmd in the group, the way run does.
func born(g *Group, cmd *exec.Cmd) error {
	done := make(chan error)
	var launch func()
	launch = func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() { // not from the main thread: another one, while this waits
			inner := make(chan struct{})
			go func() { launch(); close(inner) }()
			<-inner
			return
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: g.Fd() >= 0, CgroupFD: g.Fd()}
		err := g.Join()
		if err == nil {
			err = cmd.Start()
			err = errors.Join(err, g.Leave())
		}
		done <- err
	}
	go launch()
	return <-done
}

func self(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

// group makes a group for the test and sees to it that nothing stays.
func group(t *testing.T, r *specs.LinuxResources) *Group {
	t.Helper()
	name := "test-" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	g, err := New(name, r)
	if errors.Is(err, ErrUnavailable) {
		gone(t, name)
		t.Skipf("needs root, or a cgroup controller: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(), g.Remove()); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Errorf("removing what is removed: %v", err)
		}
		gone(t, name)
	})
	return g
}

// gone checks that no hierarchy has a group of that name.
func gone(t *testing.T, name string) {
	t.Helper()
	paths, err := PathsOf(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was left behind (%v)", p, err)
		}
	}
}

// control reads a control file of the group, or "" if no directory has it.
func control(g *Group, file string) string {
	for _, d := range g.dirs {
		if b, err := readFile(d.fd(), file, maxFile); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

func has(g *Group, controller string) bool {
	for _, d := range g.dirs {
		w, _ := words(d.fd(), "cgroup.controllers")
		if d.version == 1 && strings.Contains(d.path, controller) || slices.Contains(w, controller) {
			return true
		}
	}
	return false
}

func TestMemoryKill(t *testing.T) {
	const limit = 32 << 20
	g := group(t, memory(limit, limit))
	if got := control(g, "memory.limit_in_bytes") + control(g, "memory.max"); got != strconv.Itoa(limit) {
		t.Errorf("the kernel holds %q for the limit", got)
	}
	cmd := self("hungry")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("the hungry ended with %v, want a kill; it said %q", err, &out)
	}
	if e, err := g.Events(); err != nil || e.OOMKills != 1 {
		t.Errorf("events %+v, error %v, want 1 kill", e, err)
	}
}

// TestMemoryKillInside: the victim is in a cgroup which the container has made.
func TestMemoryKillInside(t *testing.T) {
	g := group(t, memory(32<<20, 32<<20))
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `mkdir "$1" && echo 0 >"$1/cgroup.procs" && exec "$2"`, "sh", g.Paths()[0]+"/inner", program)
	cmd.Env = append(os.Environ(), roleVar+"=hungry")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if e, eErr := g.Events(); eErr != nil || e.OOMKills != 1 {
		t.Errorf("events %+v, error %v, want 1 kill; the hungry ended with %v", e, eErr, err)
	}
}

// TestMemoryEnough is the other half: the same program within its limit, and
// with it the proof that our own process was not counted.
func TestMemoryEnough(t *testing.T) {
	g := group(t, memory(192<<20, 192<<20))
	cmd := self("hungry")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if e, err := g.Events(); err != nil || e != (Events{}) {
		t.Errorf("events %+v, error %v", e, err)
	}
}

func TestPidsLimit(t *testing.T) {
	g := group(t, pids(6))
	cmd := exec.Command("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 30 & done; wait")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if got := control(g, "pids.max"); got != "6" {
		t.Errorf("pids.max is %q after the birth", got)
	}
	// The shell may go on after the refusal or not; its children keep stderr open.
	waitFor(t, func() bool {
		e, err := g.Events()
		return err == nil && e.RefusedForks > 0
	})
	if n, _ := strconv.Atoi(control(g, "pids.current")); n > 6 {
		t.Errorf("%d processes under a limit of 6", n)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("the shell saw nothing of the limit: %s", &said)
	}
}

// TestPidsLimitOfOne: the launching thread must not count.
func TestPidsLimitOfOne(t *testing.T) {
	g := group(t, pids(1))
	cmd := exec.Command("/bin/sh", "-c", "exit 7")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("status %d, want 7", got)
	}
	cmd = exec.Command("/bin/sh", "-c", "/bin/true; exit 7")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if e, err := g.Events(); err != nil || e.RefusedForks == 0 {
		t.Errorf("events %+v, error %v: the shell could fork", e, err)
	}
}

func TestCPUQuota(t *testing.T) {
	r := cpu(20000, 100000)
	r.CPU.Shares = new(uint64(512))
	g := group(t, r)
	got := control(g, "cpu.cfs_quota_us") + " " + control(g, "cpu.cfs_period_us") + " " + control(g, "cpu.shares")
	if v2 := control(g, "cpu.max"); v2 != "" {
		got = v2 + " " + strings.Replace(control(g, "cpu.weight"), "59", "512", 1)
	}
	if got != "20000 100000 512" {
		t.Errorf("the kernel holds %q", got)
	}
	cmd := self("busy")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if e, err := g.Events(); err != nil || e.Throttled == 0 || used > 500*time.Millisecond {
		t.Errorf("events %+v, error %v, %v of cpu time in 0.7 s", e, err, used)
	}
}

func TestCpuset(t *testing.T) {
	g := group(t, cpuset("0"))
	cmd := exec.Command("/bin/cat", "/proc/self/status")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\nCpus_allowed_list:\t0\n") {
		t.Errorf("the child runs elsewhere:\n%s", &out)
	}
}

// disk is a block device to read from: a loop device over 4 MiB of our own, or
// what is there already.
func disk(t *testing.T) (name string, major, minor int64) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: block devices are root's")
	}
	names, _ := filepath.Glob("/sys/block/*/size")
	for i, s := range names {
		names[i] = "/dev/" + filepath.Base(filepath.Dir(s))
	}
	for _, name := range append(loop(t), names...) {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		size, _ := f.Seek(0, 2)
		err = unix.Fstat(int(f.Fd()), &st)
		f.Close()
		if err == nil && size >= 4<<20 && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return name, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		}
	}
	t.Skip("needs a block device that can be read")
	return "", 0, 0
}

// loop attaches a loop device that goes when the test ends, if it can.
func loop(t *testing.T) []string {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer ctl.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(4 << 20); err != nil {
		t.Fatal(err)
	}
	for range 10 { // another may take the free one before us
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil
		}
		name := "/dev/loop" + strconv.Itoa(n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil
		}
		c := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if unix.IoctlLoopConfigure(int(dev.Fd()), &c) == nil {
			t.Cleanup(func() { dev.Close() }) // the last close detaches it
			return []string{name}
		}
		dev.Close()
	}
	return nil
}

func TestDeviceRates(t *testing.T) {
	name, major, minor := disk(t)
	g := group(t, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   rate(major, minor, 2<<20),
		ThrottleWriteBpsDevice:  rate(major, minor, 3<<20),
		ThrottleReadIOPSDevice:  rate(major, minor, 10000),
		ThrottleWriteIOPSDevice: rate(major, minor, 11000),
	}})
	dev := fmt.Sprintf("%d:%d ", major, minor)
	want := dev + "rbps=2097152 wbps=3145728 riops=10000 wiops=11000"
	got := control(g, "io.max")
	if got == "" {
		want = dev + "2097152 " + dev + "3145728"
		got = control(g, "blkio.throttle.read_bps_device") + " " + control(g, "blkio.throttle.write_bps_device")
	}
	if got != want {
		t.Errorf("the kernel holds %q, want %q", got, want)
	}
	// 2 MiB at 2 MiB/s; the kernel lets a tenth of a second's worth pass at once.
	cmd := exec.Command("/bin/dd", "if="+name, "of=/dev/null", "bs=256k", "count=8", "iflag=direct")
	var said bytes.Buffer
	cmd.Stderr = &said
	start := time.Now()
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	if took := time.Since(start); took < 600*time.Millisecond {
		t.Errorf("2 MiB at 2 MiB/s took %v", took)
	}
}

func TestIOWeight(t *testing.T) {
	g := group(t, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(500))}})
	got := control(g, "blkio.weight") + control(g, "blkio.bfq.weight") + control(g, "io.bfq.weight") + control(g, "io.weight")
	if !strings.Contains(got, "500") && !strings.Contains(got, "4950") {
		t.Errorf("the kernel holds %q", got)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("waited 5 s in vain")
}

