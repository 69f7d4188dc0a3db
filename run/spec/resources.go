package spec

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// minMemory is docker's: below it a program's start alone is killed.
const minMemory = 6 << 20

// The kernel's bounds of a block I/O weight.
const minWeight, maxWeight = 10, 1000

// Resources are the limits asked for; nil, "" and empty mean none. As with
// docker a 0 means none too.
type Resources struct {
	Memory            *int64 // bytes
	MemorySwap        *int64 // memory and swap together; -1 = no limit; nil = Memory, that is no swap
	MemoryReservation *int64

	CPUQuota  *int64  // of ParseCPUs
	CPUPeriod *uint64 // of ParseCPUs
	CPUShares *uint64

	CpusetCpus, CpusetMems string

	PidsLimit *int64 // -1 = no limit

	// Only version 1 of cgroups has these two; OnlyV2 says that the machine
	// has only version 2.
	MemorySwappiness *int64 // 0..100; -1 = the system's
	OOMKillDisable   bool
	OnlyV2           bool

	BlkioWeight uint16 // 10..1000
	// BlkioWeightDevice has weights as its rates; see [ParseIOPS].
	BlkioWeightDevice []Throttle

	DeviceReadBPS, DeviceWriteBPS   []Throttle
	DeviceReadIOPS, DeviceWriteIOPS []Throttle
}

// Throttle is a rate a second for one block device.
type Throttle struct {
	Major, Minor int64
	Rate         uint64
}

// linux gives nil where no limit is asked for: on cgroup v1 no group need be
// made then, which is worth 5–20 ms.
func (r Resources) linux() (*specs.LinuxResources, error) {
	for _, t := range r.BlkioWeightDevice {
		if t.Rate < minWeight || t.Rate > maxWeight {
			return nil, invalidf("block I/O weight %d of device %d:%d: want 10..1000", t.Rate, t.Major, t.Minor)
		}
	}
	memory, err := r.memory()
	if err != nil {
		return nil, err
	}
	pids, err := r.pids()
	if err != nil {
		return nil, err
	}
	out := &specs.LinuxResources{Memory: memory, CPU: r.cpu(), Pids: pids, BlockIO: r.blockIO()}
	if out.Memory == nil && out.CPU == nil && out.Pids == nil && out.BlockIO == nil {
		return nil, nil
	}
	return out, nil
}

// memory has docker's rules, but for one: docker allows as much swap again as
// memory when no swap is asked for, and a limit which lets a program twice
// past it surprises; here there is no swap then.
func (r Resources) memory() (*specs.LinuxMemory, error) {
	limit, reservation := given(r.Memory), given(r.MemoryReservation)
	if limit != nil && *limit < minMemory {
		return nil, tooSmall("memory limit", *limit)
	}
	if reservation != nil && *reservation < minMemory {
		return nil, tooSmall("memory reservation", *reservation)
	}
	swap := given(r.MemorySwap)
	switch {
	case limit == nil && swap != nil && *swap != -1:
		return nil, invalidf("memory and swap limit without a memory limit: set both")
	case limit == nil:
		swap = nil
	case swap == nil:
		swap = limit
	}
	out := specs.LinuxMemory{Limit: limit, Reservation: reservation, Swap: swap}
	if err := r.oldMemory(&out); err != nil {
		return nil, err
	}
	if out == (specs.LinuxMemory{}) {
		return nil, nil
	}
	return &out, nil
}

// oldMemory sets what went with version 1 of cgroups.
func (r Resources) oldMemory(m *specs.LinuxMemory) error {
	if s := r.MemorySwappiness; s != nil && *s != -1 {
		switch {
		case *s < 0 || *s > 100:
			return invalidf("memory swappiness %d: want 0..100, or -1 for the system's", *s)
		case r.OnlyV2:
			return invalidf("memory swappiness: version 2 of cgroups has none; limit swap with --memory-swap")
		}
		m.Swappiness = new(uint64(*s))
	}
	if r.OOMKillDisable {
		switch {
		case r.OnlyV2:
			return invalidf("exemption from the OOM killer: version 2 of cgroups has none")
		case m.Limit == nil:
			return invalidf("exemption from the OOM killer without a memory limit: it could stop the whole machine")
		}
		m.DisableOOMKiller = new(true)
	}
	return nil
}

func tooSmall(what string, n int64) error {
	return invalidf("%s of %d bytes: the least is 6 MiB (6m)", what, n)
}

func (r Resources) cpu() *specs.LinuxCPU {
	out := specs.LinuxCPU{
		Shares: given(r.CPUShares),
		Quota:  given(r.CPUQuota),
		Period: given(r.CPUPeriod),
		Cpus:   r.CpusetCpus,
		Mems:   r.CpusetMems,
	}
	if out == (specs.LinuxCPU{}) {
		return nil
	}
	return &out
}

func (r Resources) pids() (*specs.LinuxPids, error) {
	limit := given(r.PidsLimit)
	if limit == nil || *limit == -1 {
		return nil, nil
	}
	if *limit < 0 {
		return nil, invalidf("limit of processes %d: want a number from 1, or -1 for none", *limit)
	}
	return &specs.LinuxPids{Limit: limit}, nil
}

func (r Resources) blockIO() *specs.LinuxBlockIO {
	out := &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   throttles(r.DeviceReadBPS),
		ThrottleWriteBpsDevice:  throttles(r.DeviceWriteBPS),
		ThrottleReadIOPSDevice:  throttles(r.DeviceReadIOPS),
		ThrottleWriteIOPSDevice: throttles(r.DeviceWriteIOPS),
	}
	if r.BlkioWeight != 0 {
		out.Weight = new(r.BlkioWeight)
	}
	for _, t := range r.BlkioWeightDevice {
		d := specs.LinuxWeightDevice{Weight: new(uint16(t.Rate))}
		d.Major, d.Minor = t.Major, t.Minor
		out.WeightDevice = append(out.WeightDevice, d)
	}
	asked := out.Weight != nil || len(out.WeightDevice) > 0
	for _, list := range blockLists(out) {
		asked = asked || len(list) > 0
	}
	if !asked {
		return nil
	}
	return out
}

func blockLists(b *specs.LinuxBlockIO) [][]specs.LinuxThrottleDevice {
	return [][]specs.LinuxThrottleDevice{
		b.ThrottleReadBpsDevice, b.ThrottleWriteBpsDevice, b.ThrottleReadIOPSDevice, b.ThrottleWriteIOPSDevice,
	}
}

func throttles(list []Throttle) []specs.LinuxThrottleDevice {
	var out []specs.LinuxThrottleDevice
	for _, t := range list {
		d := specs.LinuxThrottleDevice{Rate: t.Rate}
		d.Major, d.Minor = t.Major, t.Minor
		out = append(out, d)
	}
	return out
}

// given copies a number that is there and not 0.
func given[T int64 | uint64](p *T) *T {
	if p == nil || *p == 0 {
		return nil
	}
	return new(*p)
}
