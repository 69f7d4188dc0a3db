package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func memory(limit, swap int64) *specs.LinuxResources {
	m := &specs.LinuxMemory{Limit: &limit}
	if swap != 0 {
		m.Swap = &swap
	}
	return &specs.LinuxResources{Memory: m}
}

func cpu(quota int64, period uint64) *specs.LinuxResources {
	return &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}
}

func pids(n int64) *specs.LinuxResources {
	return &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}}
}

func cpuset(cpus string) *specs.LinuxResources {
	return &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: cpus}}
}

func device(major, minor int64) specs.LinuxBlockIODevice {
	return specs.LinuxBlockIODevice{Major: major, Minor: minor}
}

func rate(major, minor int64, n uint64) []specs.LinuxThrottleDevice {
	return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: device(major, minor), Rate: n}}
}

// rows prints settings as "controller file=value|file=value".
func rows(list []setting) []string {
	var out []string
	for _, s := range list {
		var w []string
		for _, x := range s.writes {
			w = append(w, x.file+"="+x.value)
		}
		var row strings.Builder
		row.WriteString(s.controller + " " + strings.Join(w, "|"))
		for _, x := range s.room {
			row.WriteString(", joined " + x.file + "=" + x.value)
		}
		out = append(out, row.String())
	}
	return out
}

func TestTables(t *testing.T) {
	all := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(1 << 20)), Swap: new(int64(3 << 20)), Reservation: new(int64(4096))},
		CPU:    &specs.LinuxCPU{Quota: new(int64(50000)), Period: new(uint64(100000)), Shares: new(uint64(512)), Cpus: "0-1", Mems: "0"},
		Pids:   &specs.LinuxPids{Limit: new(int64(1))},
		BlockIO: &specs.LinuxBlockIO{
			Weight:                  new(uint16(1000)),
			WeightDevice:            []specs.LinuxWeightDevice{{LinuxBlockIODevice: device(8, 0), Weight: new(uint16(10))}},
			ThrottleReadBpsDevice:   rate(8, 0, 1048576),
			ThrottleWriteBpsDevice:  rate(8, 16, 2),
			ThrottleReadIOPSDevice:  rate(8, 0, 3),
			ThrottleWriteIOPSDevice: rate(8, 0, 4),
		},
	}
	for _, x := range []struct {
		name   string
		ask    *specs.LinuxResources
		noSwap bool
		v1, v2 []string
	}{
		{name: "nothing", ask: nil},
		{name: "empty", ask: &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}}},
		{name: "unlimited", ask: &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(-1)), Swap: new(int64(-1)), Reservation: new(int64(-1))},
			CPU:    &specs.LinuxCPU{Quota: new(int64(-1))},
			Pids:   &specs.LinuxPids{Limit: new(int64(-1))}}},
		{name: "everything", ask: all, v1: []string{
			"memory memory.limit_in_bytes=1048576",
			"memory memory.memsw.limit_in_bytes=3145728",
			"memory memory.soft_limit_in_bytes=4096",
			"cpu cpu.cfs_period_us=100000",
			"cpu cpu.cfs_quota_us=50000",
			"cpu cpu.shares=512",
			"cpuset cpuset.cpus=0-1",
			"cpuset cpuset.mems=0",
			"pids pids.max=1, joined pids.max=2",
			"blkio blkio.weight=1000|blkio.bfq.weight=1000",
			"blkio blkio.weight_device=8:0 10|blkio.bfq.weight_device=8:0 10",
			"blkio blkio.throttle.read_bps_device=8:0 1048576",
			"blkio blkio.throttle.write_bps_device=8:16 2",
			"blkio blkio.throttle.read_iops_device=8:0 3",
			"blkio blkio.throttle.write_iops_device=8:0 4",
		}, v2: []string{
			"memory memory.max=1048576",
			"memory memory.swap.max=2097152",
			"memory memory.low=4096",
			"cpu cpu.max=50000 100000",
			"cpu cpu.weight=59",
			"cpuset cpuset.cpus=0-1",
			"cpuset cpuset.mems=0",
			"pids pids.max=1",
			"io io.bfq.weight=1000|io.weight=10000",
			"io io.bfq.weight=8:0 10|io.weight=8:0 1",
			"io io.max=8:0 rbps=1048576",
			"io io.max=8:16 wbps=2",
			"io io.max=8:0 riops=3",
			"io io.max=8:0 wiops=4",
		}},
		{name: "no swap for it", ask: memory(4096, 4096),
			v1: []string{"memory memory.limit_in_bytes=4096", "memory memory.memsw.limit_in_bytes=4096|memory.swappiness=0"},
			v2: []string{"memory memory.max=4096", "memory memory.swap.max=0"}},
		{name: "no swap at all", ask: memory(4096, 8192), noSwap: true,
			v1: []string{"memory memory.limit_in_bytes=4096", "memory memory.memsw.limit_in_bytes=8192|="},
			v2: []string{"memory memory.max=4096", "memory memory.swap.max=4096|="}},
		{name: "all the swap it likes", ask: memory(4096, -1),
			v1: []string{"memory memory.limit_in_bytes=4096"},
			v2: []string{"memory memory.max=4096"}},
		{name: "quota alone", ask: cpu(1500, 0), v1: []string{"cpu cpu.cfs_quota_us=1500"}, v2: []string{"cpu cpu.max=1500"}},
		{name: "period alone", ask: cpu(0, 2000), v1: []string{"cpu cpu.cfs_period_us=2000"}, v2: []string{"cpu cpu.max=max 2000"}},
		{name: "most pids there can be", ask: pids(1 << 22), v1: []string{"pids pids.max=4194304"}, v2: []string{"pids pids.max=4194304"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w, err := parse(x.ask)
			if err != nil {
				t.Fatal(err)
			}
			w.noSwap = x.noSwap
			if got := rows(v1Settings(w)); !slices.Equal(got, x.v1) {
				t.Errorf("v1:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(x.v1, "\n"))
			}
			if got := rows(v2Settings(w)); !slices.Equal(got, x.v2) {
				t.Errorf("v2:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(x.v2, "\n"))
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	blockIO := func(b specs.LinuxBlockIO) *specs.LinuxResources { return &specs.LinuxResources{BlockIO: &b} }
	for _, x := range []struct {
		name, limit string
		ask         *specs.LinuxResources
	}{
		{"less than no memory", memoryLimit, memory(-2, 0)},
		{"swap without memory", swapLimit, &specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: new(int64(1))}}},
		{"swap and unlimited memory", swapLimit, memory(-1, 1<<20)},
		{"both less than one", swapLimit, memory(8192, 4096)},
		{"reservation", reservation, &specs.LinuxResources{Memory: &specs.LinuxMemory{Reservation: new(int64(-5))}}},
		{"negative quota", cpuQuota, cpu(-2, 0)},
		{"quota too small to count", cpuQuota, cpu(999, 100000)},
		{"short period", cpuPeriod, cpu(1000, 999)},
		{"long period", cpuPeriod, cpu(1000, 1000001)},
		{"cpus by name", cpusetCPUs, cpuset("all")},
		{"two lines of cpus", cpusetCPUs, cpuset("0\n1")},
		{"half a range", cpusetCPUs, cpuset("0-")},
		{"empty item", cpusetCPUs, cpuset("0,,1")},
		{"mems", cpusetMems, &specs.LinuxResources{CPU: &specs.LinuxCPU{Mems: "-1"}}},
		{"no processes", pidsLimit, pids(0)},
		{"fewer than none", pidsLimit, pids(-2)},
		{"light", ioWeight, blockIO(specs.LinuxBlockIO{Weight: new(uint16(9))})},
		{"heavy", ioWeight, blockIO(specs.LinuxBlockIO{Weight: new(uint16(1001))})},
		{"device weight", ioDeviceWght, blockIO(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: device(8, 0)}}})},
		{"device number", readBytesRate, blockIO(specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(-8, 0, 1)})},
		{"no writing at all", writeOpsRate, blockIO(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: rate(8, 0, 0)})},
		{"swappiness", "swappiness", &specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: new(uint64(1))}}},
		{"oom killer", "exemption from the OOM killer", &specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: new(true)}}},
		{"unified", "raw cgroup v2 value", &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := parse(x.ask)
			if err == nil || !strings.HasPrefix(err.Error(), "setting the "+x.limit+": ") {
				t.Errorf("error %v, want one about the %s", err, x.limit)
			}
		})
	}
}

func TestSharesToWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 1024: 100, 512: 59, 2048: 174, 262144: 10000, 1 << 60: 10000} {
		if got := sharesToWeight(shares); got != want {
			t.Errorf("%d shares are weight %d, want %d", shares, got, want)
		}
	}
}

// TestApply chooses among alternatives by what is there, and says whose fault it
// is when nothing is. Plain files stand in for control files.
func TestApply(t *testing.T) {
	tmp := t.TempDir()
	f, err := os.Open(tmp)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := &dir{version: 1, self: f, parent: f}
	for _, name := range []string{"second", "third"} {
		if err := os.WriteFile(filepath.Join(tmp, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := setting{limit: memoryLimit, controller: "memory", writes: []write{{"first", "1"}, {"second", "2"}, {"third", "3"}}}
	if err := d.apply(s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"second": "2", "third": ""} {
		if b, _ := os.ReadFile(filepath.Join(tmp, name)); string(b) != want {
			t.Errorf("%s holds %q, want %q", name, b, want)
		}
	}
	s.writes = []write{{"first", "1"}, {}}
	if err := d.apply(s); err != nil {
		t.Errorf("a setting that needs nothing: %v", err)
	}
	s.writes = []write{{"first", "1"}, {"fourth", "4"}}
	err = d.apply(s)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "memory limit") || !strings.Contains(err.Error(), "controller memory") {
		t.Errorf("no file: %v", err)
	}
	if err := os.Symlink("third", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	s.writes = []write{{"link", "x"}}
	if err := d.apply(s); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link for a control file: %v, want ELOOP", err)
	}
}

func TestReadFileIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]error{9999: errTooLong, 10000: nil} {
		b, err := readFile(unix.AT_FDCWD, name, limit)
		if len(b) != limit || !errors.Is(err, want) {
			t.Errorf("limit %d: %d bytes, error %v, want %v", limit, len(b), err, want)
		}
	}
}

// FuzzParse: what is accepted cannot break out of the one line it is written as.
func FuzzParse(f *testing.F) {
	f.Add("0-3,7", "0", int64(1<<20), int64(-1), int64(20000), uint64(100000), uint64(1024), int64(5), uint16(100))
	f.Add("0\n1", "-", int64(-1), int64(-2), int64(1), uint64(1), uint64(0), int64(0), uint16(1))
	f.Fuzz(func(t *testing.T, cpus, mems string, mem, swap, quota int64, period, shares uint64, n int64, weight uint16) {
		w, err := parse(&specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: &mem, Swap: &swap},
			CPU:     &specs.LinuxCPU{Cpus: cpus, Mems: mems, Quota: &quota, Period: &period, Shares: &shares},
			Pids:    &specs.LinuxPids{Limit: &n},
			BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		})
		if err != nil {
			return
		}
		for _, s := range append(v1Settings(w), v2Settings(w)...) {
			for _, x := range append(s.writes, s.room...) {
				if strings.Trim(x.value, "0123456789-, max") != "" || strings.HasPrefix(x.value, "-") || x.file != "" && x.value == "" {
					t.Errorf("%s: %q into %s", s.limit, x.value, x.file)
				}
			}
		}
	})
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "0f3c-9", "A_b.c", strings.Repeat("x", 128)} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", ".a", "-a", "a/b", "a\nb", "ä", strings.Repeat("x", 129)} {
		if err := checkName(name); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
		if _, err := New(name, nil); err == nil && name != "a/b" {
			t.Errorf("New took %q for a name", name)
		}
	}
	for s, want := range map[string][2]string{"a": {"", "a"}, "p/a": {"/p", "a"}, "/p/q/a": {"/p/q", "a"}} {
		if under, name, err := splitName(s); err != nil || under != want[0] || name != want[1] {
			t.Errorf("%q is %q beneath %q, %v", s, name, under, err)
		}
	}
	for _, s := range []string{"../a", "p/../a", "p/", "p/.."} {
		if _, _, err := splitName(s); err == nil {
			t.Errorf("%q was taken for a place", s)
		}
	}
}

func ExampleErrUnavailable() {
	err := unavailable(memoryLimit, "memory", errors.New("is in no mounted hierarchy"))
	fmt.Println(err)
	// Output: setting the memory limit: not available here: cgroup controller memory: is in no mounted hierarchy
}
