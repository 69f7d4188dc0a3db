package cgroup

import (
	"bufio"
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

// The tests of this file use the kernel's own cgroups, as root. The test binary
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
	case "starter":
		starter(os.Args[1])
	default:
		os.Exit(m.Run())
	}
}

// hungry takes 4 MiB each 5 ms and touches it, up to 256 MiB.
func hungry() {
	var held [][]byte
	for range 64 {
		b := bytes.Repeat([]byte{1}, 4<<20)
		held = append(held, b)
		time.Sleep(5 * time.Millisecond)
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
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups are root's to make")
	}
	name := "test-" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	g, err := New(name, r)
	if errors.Is(err, ErrUnavailable) {
		gone(t, name)
		t.Skipf("needs a cgroup controller: %v", err)
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
	const limit = 48 << 20
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

// TestMemoryEnough is the other half: the same program within its limit, and
// with it the proof that our own process was not counted.
func TestMemoryEnough(t *testing.T) {
	g := group(t, memory(400<<20, 400<<20))
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

// TestAllAtOnce puts a child under every limit that this machine has.
func TestAllAtOnce(t *testing.T) {
	r := memory(64<<20, 128<<20)
	r.Memory.Reservation = new(int64(32 << 20))
	r.Pids, r.CPU = pids(50).Pids, cpu(50000, 0).CPU
	g := group(t, r)
	cmd := exec.Command("/bin/cat", "/proc/self/cgroup")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), prefix); n != len(g.Paths()) {
		t.Errorf("the child was in %d of the groups %q:\n%s", n, g.Paths(), &out)
	}
	if own, _ := os.ReadFile("/proc/self/cgroup"); bytes.Contains(own, []byte(prefix)) {
		t.Errorf("we are in the group ourselves:\n%s", own)
	}
}

// TestNoLimits: nothing on v1, a directory on v2.
func TestNoLimits(t *testing.T) {
	g := group(t, nil)
	h, err := readHost()
	if err != nil {
		t.Fatal(err)
	}
	if pure := h.v2 != nil && len(h.v1) == 0; pure != (g.Fd() >= 0) || pure != (len(g.Paths()) == 1) {
		t.Errorf("fd %d, paths %q", g.Fd(), g.Paths())
	}
	cmd := exec.Command("/bin/true")
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

// TestHalfMade: a limit that the kernel refuses takes the others with it.
func TestHalfMade(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups are root's to make")
	}
	for what, r := range map[string]*specs.LinuxResources{
		cpusetCPUs:    cpuset("65000"),
		readBytesRate: {BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(4000, 9, 1<<20)}},
		ioWeight:      {BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(100))}}, // where there is BFQ or io.cost, it works
	} {
		r.Pids = pids(10).Pids
		name := "test-" + strconv.Itoa(os.Getpid()) + "-half"
		g, err := New(name, r)
		if err == nil && what == ioWeight {
			err = g.Remove()
		} else if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("asking for an impossible %s: %v", what, err)
		}
		t.Log(err)
		gone(t, name)
	}
}

func TestTwiceTheSameName(t *testing.T) {
	g := group(t, pids(10))
	name := strings.TrimPrefix(filepath.Base(g.Paths()[0]), prefix)
	if _, err := New(name, pids(10)); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second group of the same name: %v", err)
	}
	if _, err := os.Stat(g.Paths()[0]); err != nil {
		t.Errorf("it took the first away: %v", err)
	}
}

// TestKill: a tree of processes, some in cgroups that they made inside ours.
func TestKill(t *testing.T) {
	g := group(t, pids(100))
	inner := g.Paths()[0] + "/inner/most"
	script := `mkdir -p "$1" && (echo 0 >"$1/cgroup.procs"; exec sleep 60) & for i in 1 2 3 4 5; do (sleep 60 & wait) & done; wait`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", inner)
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		b, _ := os.ReadFile(inner + "/cgroup.procs")
		n, _ := strconv.Atoi(control(g, "pids.current"))
		return len(b) > 0 && n >= 10
	})
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if n, err := g.each(count); n != 0 || err != nil { // pids.current still counts zombies
		t.Errorf("%d processes after the kill, error %v", n, err)
	}
	_ = cmd.Wait()
}

// TestKillWhileJoined: it must not be us.
func TestKillWhileJoined(t *testing.T) {
	g := group(t, pids(10))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: should the thread be spoilt, it ends here
		if unix.Gettid() == unix.Getpid() {
			done <- nil
			return
		}
		err := g.Join()
		done <- errors.Join(err, g.Kill(), g.Remove())
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCrash kills the starter with what it has started still running, as a
// machine out of memory would, and cleans up after it.
func TestCrash(t *testing.T) {
	group(t, pids(10)) // or skip
	name := "test-" + strconv.Itoa(os.Getpid()) + "-crash"
	cmd := self("starter", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for s := bufio.NewScanner(out); len(lines) < 2 && s.Scan(); {
		lines = append(lines, s.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	slices.Sort(lines) // the sleeper's pid, then the paths: '/' sorts before digits
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "<nil>") {
		t.Fatalf("the starter said %q", lines)
	}
	sleeper, _ := strconv.Atoi(lines[1])
	if err := unix.Kill(sleeper, 0); err != nil {
		t.Fatalf("the sleeper did not outlive its starter: %v", err)
	}
	paths := strings.Fields(strings.TrimSuffix(lines[0], "<nil>"))
	if err := Clean(paths); err != nil {
		t.Error(err)
	}
	gone(t, name)
	waitFor(t, func() bool { return unix.Kill(sleeper, 0) != nil || isZombie(sleeper) })
	if err := Clean(paths); err != nil {
		t.Errorf("cleaning what is clean: %v", err)
	}
}

func isZombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return bytes.Contains(b, []byte(") Z "))
}

func TestCleanRefuses(t *testing.T) {
	tmp := t.TempDir()
	ours := filepath.Join(tmp, prefix+"x")
	if err := os.Mkdir(ours, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{ours, "/sys/fs/cgroup", "/", "", prefix + "x", "/sys/fs/cgroup/../fs/" + prefix + "x", "/sys/fs/cgroup/system.slice"} {
		if err := Clean([]string{p}); err == nil {
			t.Errorf("cleaned %q", p)
		}
	}
	if _, err := os.Stat(ours); err != nil {
		t.Error(err)
	}
	if err := Clean([]string{filepath.Join(tmp, "not", prefix+"there")}); err != nil {
		t.Errorf("cleaning what is not there: %v", err)
	}
}

// TestMainThread: with it in the group umiak itself would be under the limits.
func TestMainThread(t *testing.T) {
	g := group(t, pids(10))
	if !g.hasV1() {
		t.Skip("needs cgroup v1")
	}
	g.tid = unix.Getpid() // what Join would note; Leave must bear it
	if err := g.Leave(); err != nil {
		t.Error(err)
	}
}

// TestRealTime: a cpu group refuses a real-time thread, and the error says so.
func TestRealTime(t *testing.T) {
	g := group(t, cpu(50000, 0))
	if !g.hasV1() {
		t.Skip("needs cgroup v1")
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with its priority
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil || unix.Gettid() == unix.Getpid() {
			result <- errors.ErrUnsupported
			return
		}
		result <- g.Join()
	}()
	err := <-result
	if errors.Is(err, errors.ErrUnsupported) || err == nil {
		t.Skip("needs real-time group scheduling")
	}
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "real-time") {
		t.Errorf("error %v", err)
	}
}

// TestAddProc moves a running process into a v2 group.
func TestAddProc(t *testing.T) {
	g := group(t, nil)
	if err := g.AddProc(0); err == nil {
		t.Error("added process 0, which is ourselves")
	}
	if g.Fd() < 0 {
		t.Skip("needs cgroup v2 alone")
	}
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.AddProc(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if got := control(g, "cgroup.procs"); got != strconv.Itoa(cmd.Process.Pid) {
		t.Errorf("the group holds %q", got)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill() // should the group not have
	_ = cmd.Wait()
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
