package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/run"
	"github.com/umiak/umiak/run/cgroup"
)

var update = flag.Bool("update", false, "write the golden files anew")

func pulledResult(t *testing.T) *pull.Result {
	t.Helper()
	ref, err := image.Parse("alpine:3.20")
	if err != nil {
		t.Fatal(err)
	}
	return &pull.Result{
		Image:  &image.Image{Reference: ref, Digest: "sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1", Size: 4_600_000},
		Pulled: true, Bytes: 3_500_000,
	}
}

// reports are runs of which different things are known.
func reports(t *testing.T) map[string]ran {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	usage := run.Usage{
		Start: start, End: start.Add(2345 * time.Millisecond), User: 1500 * time.Millisecond, System: 250 * time.Millisecond,
		MaxRSS: new(int64(50 << 20)), Read: 12_300_000, Written: 4096,
	}
	full := cgroup.Stats{
		CPU: new(3 * time.Second), CPUUser: new(2 * time.Second), CPUSystem: new(time.Second),
		Periods: new(uint64(23)), Throttled: new(uint64(7)), ThrottledTime: new(430 * time.Millisecond),
		MemoryPeak: new(uint64(80 << 20)), TasksPeak: new(uint64(12)), OOMKills: new(uint64(2)),
		BytesRead: new(uint64(12_400_000)), BytesWritten: new(uint64(0)),
	}
	limits := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(100 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(50))},
		CPU: &specs.LinuxCPU{Quota: new(int64(150000)), Period: new(uint64(100000))},
	}
	unlimited := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(-1))}, Pids: &specs.LinuxPids{Limit: new(int64(-1))}, CPU: &specs.LinuxCPU{Quota: new(int64(-1))},
	}
	cached := pulledResult(t)
	cached.Pulled, cached.Bytes = false, 0
	// The cgroup's count of CPU time is no more than wait4's, and coarser.
	v1 := cgroup.Stats{CPU: new(1752 * time.Millisecond), CPUUser: new(1600 * time.Millisecond), CPUSystem: new(150 * time.Millisecond), MemoryPeak: new(uint64(512 << 10)), TasksPeak: new(uint64(1)), OOMKills: new(uint64(0))}
	small := usage
	small.MaxRSS = nil
	return map[string]ran{
		"full":    {"0123456789ab", pulledResult(t), 1200 * time.Millisecond, limits, run.Status{Signal: syscall.SIGKILL, OOMKills: 2, Usage: usage, Group: full}, 137},
		"v1":      {"0123456789ab", cached, 3 * time.Millisecond, unlimited, run.Status{Code: 3, Usage: small, Group: v1}, 3},
		"unknown": {"0123456789ab", nil, 0, limits, run.Status{Usage: small}, 0},
	}
}

func TestReport(t *testing.T) {
	for name, x := range reports(t) {
		t.Run(name, func(t *testing.T) {
			var table bytes.Buffer
			if err := newReport(x).write(nil, &table); err != nil {
				t.Fatal(err)
			}
			golden(t, "report/"+name+".txt", table.Bytes())
			file := filepath.Join(t.TempDir(), "report")
			f := &reportFlag{}
			if err := f.Set(file); err != nil {
				t.Fatal(err)
			}
			out, err := f.open()
			if err != nil {
				t.Fatal(err)
			}
			if err := newReport(x).write(out, io.Discard); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil || !json.Valid(b) {
				t.Fatalf("%s, %v", b, err)
			}
			golden(t, "report/"+name+".json", b)
		})
	}
}

// TestReportUnknown: of what nobody has counted there is no zero.
func TestReportUnknown(t *testing.T) {
	b, err := encodeJSON(newReport(reports(t)["unknown"]), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"periods", "throttled_periods", "throttled_seconds", "peak_bytes", "largest_process_bytes", "oom_kills", "written_bytes", "peak", "pull"} {
		if !strings.Contains(string(b), `"`+key+`":null`) {
			t.Errorf("%s is not null: %s", key, b)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestReportFlag(t *testing.T) {
	f := &reportFlag{}
	if f.wanted() || f.Set("") == nil || f.wanted() {
		t.Error("wanted without a value")
	}
	if err := f.Set(reportTable); err != nil || !f.wanted() {
		t.Error(err)
	}
	if out, err := f.open(); out != nil || err != nil {
		t.Errorf("%v, %v", out, err)
	}
	for spec, want := range map[string]string{
		"-":                "--report: standard output belongs to the command",
		"/nonexistent/dir": "--report: opening /nonexistent/dir: no such file or directory",
		"fd:1":             "--report: fd:1 belongs to the command",
	} {
		f := &reportFlag{spec}
		if _, err := f.open(); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, x := range []struct{ got, want string }{
		{spanText(0.0004), "0.000 s"}, {spanText(0.0126), "0.013 s"}, {spanText(1.239), "1.24 s"}, {spanText(59.99), "59.99 s"}, {spanText(3661.04), "1h1m1s"},
		{memoryText(0), "0 B"}, {memoryText(1000), "1000 B"}, {memoryText(1024), "1 KiB"}, {memoryText(1 << 20), "1 MiB"}, {memoryText(1<<20 - 1), "1 MiB"},
		{memoryText(3 << 29), "1.5 GiB"}, {memoryText(1 << 50), "1024 TiB"}, {memoryText(1020 << 20), "1020 MiB"},
		{cpusText(1.5), "1.5 CPUs"}, {cpusText(1.0 / 3), "0.3333 CPUs"},
	} {
		if x.got != x.want {
			t.Errorf("%q, want %q", x.got, x.want)
		}
	}
}
