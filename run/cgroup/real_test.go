package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
		for used := (syscall.Rusage{}); used.Utime.Nano()+used.Stime.Nano() < 40e6; {
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
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
func born(g *Group, cmd *exec.Cmd) (err error) {
	offMain(func() {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: g.Fd() >= 0, CgroupFD: g.Fd()}
		if err = g.Join(); err == nil {
			err = errors.Join(cmd.Start(), g.Leave())
		}
	})
	return err
}

// offMain calls f on a locked thread that is not the main one.
func offMain(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			offMain(f) // on another, while this one waits
			return
		}
		f()
	}()
	<-done
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
	r := cpu(5000, 100000)
	r.CPU.Shares = new(uint64(512))
	g := group(t, r)
	got := control(g, "cpu.cfs_quota_us") + " " + control(g, "cpu.cfs_period_us") + " " + control(g, "cpu.shares")
	if v2 := control(g, "cpu.max"); v2 != "" {
		got = v2 + " " + strings.Replace(control(g, "cpu.weight"), "59", "512", 1)
	}
	if got != "5000 100000 512" {
		t.Errorf("the kernel holds %q", got)
	}
	cmd := self("busy")
	start := time.Now()
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if e, err := g.Events(); err != nil || e.Throttled == 0 || took < 300*time.Millisecond {
		t.Errorf("events %+v, error %v, %v for 40 ms of cpu time at a twentieth", e, err, took)
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
