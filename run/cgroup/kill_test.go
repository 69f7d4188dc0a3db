package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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
		return len(b) > 0 && n >= 12
	})
	killed(t, g)
	_ = cmd.Wait()
}

// TestKillForkers: ten loops that fork as fast as they can.
func TestKillForkers(t *testing.T) {
	// 6.12.113 dies in the copy_process of a process that is killed meanwhile.
	if b, _ := os.ReadFile("/proc/cpuinfo"); bytes.Contains(b, []byte("User Mode Linux")) {
		t.Skip("needs another kernel than user-mode Linux, which panics when a fork is killed")
	}
	g := group(t, pids(200))
	cmd := exec.Command("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do while :; do (:) & wait; done & done; wait")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		n, _ := strconv.Atoi(control(g, "pids.current"))
		return n > 10
	})
	killed(t, g)
	_ = cmd.Wait()
}

// TestKillByFreezing is Kill on v2 before 5.14, which had no cgroup.kill.
func TestKillByFreezing(t *testing.T) {
	h, err := readHost("")
	if err != nil {
		t.Fatal(err)
	}
	if h.v2 == nil || os.Getuid() != 0 {
		t.Skip("needs root and a cgroup v2 file system")
	}
	g := &Group{}
	name := "test-" + strconv.Itoa(os.Getpid()) + "-freezing"
	if err := g.makeDir(h.v2, h.v2.mount, prefix+name); err != nil {
		t.Fatal(err)
	}
	defer gone(t, name)
	defer g.Remove()
	cmd := exec.Command("/bin/sh", "-c", "sleep 60 & sleep 60 & wait")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { n, _ := g.each(count); return n == 3 })
	thaw := g.freeze()
	waitFor(t, func() bool { return strings.Contains(control(g, "cgroup.events"), "frozen 1") })
	if n, err := g.each(signalAll); n != 3 || err != nil {
		t.Errorf("signalled %d, error %v", n, err)
	}
	thaw()
	_ = cmd.Wait()
	waitFor(t, func() bool { n, _ := g.each(count); return n == 0 })
	if got := control(g, "cgroup.freeze"); got != "0" {
		t.Errorf("cgroup.freeze is %q afterwards", got)
	}
}

func killed(t *testing.T, g *Group) {
	t.Helper()
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if n, err := g.each(count); n != 0 || err != nil { // pids.current still counts zombies
		t.Errorf("%d processes after the kill, error %v", n, err)
	}
}

// TestKillWhileJoined: it must not be us.
func TestKillWhileJoined(t *testing.T) {
	g := group(t, pids(10))
	cmd := exec.Command("/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: g.Fd() >= 0, CgroupFD: g.Fd()}
	offMain(func() {
		// With somebody to kill Kill freezes the group, this thread not included.
		if err := errors.Join(g.Join(), cmd.Start(), g.Kill(), g.Remove()); err != nil {
			t.Error(err)
		}
	})
	_ = cmd.Wait()
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
	g := group(t, pids(10)) // a cgroup of another name, which we may remove
	other := g.Paths()[0] + "/other"
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Clean([]string{other}); err == nil || !strings.Contains(err.Error(), "not a path that umiak makes") {
		t.Errorf("cleaning another's cgroup: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
