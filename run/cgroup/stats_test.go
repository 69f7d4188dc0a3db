package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// measured makes a group that counts.
func measured(t *testing.T, r *specs.LinuxResources) *Group {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: a user's cgroup may lack the controllers that count")
	}
	name := "test-" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(t.Name())
	g, err := NewMeasured(name, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(), g.Remove()); err != nil {
			t.Error(err)
		}
		gone(t, name)
	})
	return g
}

// within complains of a number that is not known, or not between the two.
func within[T uint64 | time.Duration](t *testing.T, what string, got *T, least, most T) {
	t.Helper()
	switch {
	case got == nil:
		t.Errorf("%s: unknown, want %v to %v", what, least, most)
	case *got < least || *got > most:
		t.Errorf("%s: %v, want %v to %v", what, *got, least, most)
	}
}

func TestStats(t *testing.T) {
	g := measured(t, nil)
	// 40 ms of CPU time, beside it 3 processes that wait.
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `sleep 0.3 & sleep 0.3 & sleep 0.3 & "$1"; wait`, "sh", program)
	cmd.Env = append(os.Environ(), roleVar+"=busy")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // the shell's and all it waited for
	const slack = 40 * time.Millisecond                                 // ticks, and the thread that launched it
	within(t, "cpu time", s.CPU, used-slack, used+slack)
	within(t, "user cpu time", s.CPUUser, 0, used+slack)
	within(t, "system cpu time", s.CPUSystem, 0, used+slack)
	if s.CPUUser != nil && s.CPUSystem != nil && s.CPU != nil {
		sum := *s.CPUUser + *s.CPUSystem
		within(t, "user and system", &sum, *s.CPU-slack, *s.CPU+slack)
	}
	within(t, "tasks", s.TasksPeak, 5, 40)                     // a Go program has some threads
	within(t, "peak of memory", s.MemoryPeak, 256<<10, 64<<20) // four small programs
	within(t, "OOM kills", s.OOMKills, 0, 0)
}

// TestStatsMemory: the peak is that of the past, and the kill is counted.
func TestStatsMemory(t *testing.T) {
	const limit = 32 << 20
	g := measured(t, memory(limit, limit))
	cmd := self("hungry")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Errorf("the hungry ended with %v", cmd.ProcessState)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	within(t, "peak of memory", s.MemoryPeak, limit*9/10, limit+1<<20) // some charges are let through
	within(t, "OOM kills", s.OOMKills, 1, 1)
}

func TestStatsThrottled(t *testing.T) {
	g := measured(t, cpu(5000, 100000))
	cmd := self("busy")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	within(t, "periods", s.Periods, 3, 100)
	within(t, "throttled", s.Throttled, 3, 100)
	within(t, "throttled time", s.ThrottledTime, 100*time.Millisecond, time.Minute)
}

// TestStatsIO reads past the page cache.
func TestStatsIO(t *testing.T) {
	name, _, _ := disk(t)
	g := measured(t, nil)
	cmd := exec.Command("dd", "if="+name, "of=/dev/null", "iflag=direct", "bs=256k", "count=8")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if g.Fd() < 0 {
		if s.BytesRead != nil || s.BytesWritten != nil {
			t.Errorf("v1 pretends to know: %s", text(s))
		}
		return
	}
	within(t, "bytes read", s.BytesRead, 2<<20, 8<<20) // twice where the disk is a file; and dd itself may have been read
	within(t, "bytes written", s.BytesWritten, 0, 0)
}

// TestStatsUnmeasured: what nobody counts is unknown, not zero.
func TestStatsUnmeasured(t *testing.T) {
	if none, err := (&Group{}).Stats(); err != nil || none != (Stats{}) {
		t.Errorf("an empty group counted %s, %v", text(none), err)
	}
	g := group(t, pids(20))
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// On v2 another's group may have had the controllers turned on.
	if s.TasksPeak = nil; g.Fd() < 0 && s != (Stats{}) {
		t.Errorf("counted without a controller: %s", text(s))
	}
}

// TestStatsFiles reads files as kernels write them that we may not have here.
func TestStatsFiles(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version int
		files   map[string]string
		want    Stats
	}{
		{"v2", 2, map[string]string{
			"cpu.stat":      "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 30\nnr_throttled 4\nthrottled_usec 70000\n",
			"memory.peak":   "1048576\n",
			"memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n",
			"pids.peak":     "7\n",
			"io.stat":       "8:16 rbytes=1000 wbytes=20 rios=1 wios=1 dbytes=5 dios=1\n8:0 \n254:0 rbytes=234 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n",
		}, Stats{
			CPU: new(2500 * time.Millisecond), CPUUser: new(2 * time.Second), CPUSystem: new(500 * time.Millisecond),
			Periods: new(uint64(30)), Throttled: new(uint64(4)), ThrottledTime: new(70 * time.Millisecond),
			MemoryPeak: new(uint64(1 << 20)), TasksPeak: new(uint64(7)),
			BytesRead: new(uint64(1234)), BytesWritten: new(uint64(21)), OOMKills: new(uint64(2)),
		}},
		{"v2, Linux 5.4 and no cpu controller", 2, map[string]string{
			"cpu.stat": "usage_usec 5\nuser_usec 5\nsystem_usec 0\n", "memory.events": "oom_kill 0\n", "io.stat": "",
		}, Stats{
			CPU: new(5 * time.Microsecond), CPUUser: new(5 * time.Microsecond), CPUSystem: new(time.Duration(0)),
			OOMKills: new(uint64(0)), BytesRead: new(uint64(0)), BytesWritten: new(uint64(0)),
		}},
		{"v1", 1, map[string]string{
			"cpuacct.usage": "82025551\n", "cpuacct.stat": "user 2\nsystem 5\n",
			"cpu.stat":                  "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
			"memory.max_usage_in_bytes": "23375872\n", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
			"pids.peak": "3\n",
			"blkio.throttle.io_service_bytes_recursive": "254:0 Read 100\n254:0 Write 77\n254:0 Total 177\nTotal 177\n",
		}, Stats{
			CPU: new(82025551 * time.Nanosecond), CPUUser: new(20 * time.Millisecond), CPUSystem: new(50 * time.Millisecond),
			Periods: new(uint64(0)), Throttled: new(uint64(0)), ThrottledTime: new(time.Duration(0)),
			MemoryPeak: new(uint64(23375872)), TasksPeak: new(uint64(3)), OOMKills: new(uint64(0)),
		}},
		{"v1, Linux 4.12: kills not counted", 1, map[string]string{
			"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n",
		}, Stats{}},
		{"damaged", 2, map[string]string{
			"cpu.stat": "usage_usec x\n", "memory.peak": "max\n", "io.stat": "8:0 rbytes=1 wbytes=2\n8:1 rbytes=? wbytes=-1\n", "pids.peak": "",
		}, Stats{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := os.Open(at)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g := &Group{dirs: []*dir{{version: tt.version, path: at, self: f}}}
			got, err := g.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if g, w := text(got), text(tt.want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

func text(s Stats) string {
	var b strings.Builder
	for _, n := range []*uint64{s.Periods, s.Throttled, s.MemoryPeak, s.TasksPeak, s.BytesRead, s.BytesWritten, s.OOMKills} {
		if n == nil {
			b.WriteString("? ")
			continue
		}
		b.WriteString(strconv.FormatUint(*n, 10) + " ")
	}
	for _, d := range []*time.Duration{s.CPU, s.CPUUser, s.CPUSystem, s.ThrottledTime} {
		if d == nil {
			b.WriteString("? ")
			continue
		}
		b.WriteString(d.String() + " ")
	}
	return b.String()
}
