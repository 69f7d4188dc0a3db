package spec

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestResources(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		rule string
		r    Resources
		want string // JSON, or "error: " and a part of the message
	}{
		{"nothing", Resources{}, `null`},
		{"zeros are nothing", Resources{
			Memory: new(int64(0)), MemorySwap: new(int64(0)), MemoryReservation: new(int64(0)), CPUQuota: new(int64(0)),
			CPUShares: new(uint64(0)), PidsLimit: new(int64(0)),
		}, `null`},
		{"memory turns swap off", Resources{Memory: new(int64(10 * mib))}, `{"memory":{"limit":10485760,"swap":10485760}}`},
		{"a swap of 0 is none given", Resources{Memory: new(int64(10 * mib)), MemorySwap: new(int64(0))}, `{"memory":{"limit":10485760,"swap":10485760}}`},
		{"memory and swap", Resources{Memory: new(int64(10 * mib)), MemorySwap: new(int64(20 * mib))}, `{"memory":{"limit":10485760,"swap":20971520}}`},
		{"unlimited swap", Resources{Memory: new(int64(10 * mib)), MemorySwap: new(int64(-1))}, `{"memory":{"limit":10485760,"swap":-1}}`},
		{"unlimited swap alone", Resources{MemorySwap: new(int64(-1))}, `null`},
		{"reservation alone", Resources{MemoryReservation: new(int64(10 * mib)), MemorySwap: new(int64(-1))}, `{"memory":{"reservation":10485760}}`},
		{"the least memory", Resources{Memory: new(int64(6 * mib))}, `{"memory":{"limit":6291456,"swap":6291456}}`},
		{"too little", Resources{Memory: new(int64(6*mib - 1))}, "error: memory limit of 6291455 bytes: the least is 6 MiB (6m)"},
		{"negative", Resources{Memory: new(int64(-1))}, "error: memory limit of -1"},
		{"too little reserved", Resources{MemoryReservation: new(int64(1))}, "error: memory reservation of 1 bytes"},
		{"swap below memory", Resources{Memory: new(int64(10 * mib)), MemorySwap: new(int64(9 * mib))}, "error: below the memory limit"},
		{"swap without memory", Resources{MemorySwap: new(int64(9 * mib))}, "error: without a memory limit"},
		{"negative swap", Resources{Memory: new(int64(10 * mib)), MemorySwap: new(int64(-2))}, "error: must not be negative"},
		{"reservation above memory", Resources{Memory: new(int64(10 * mib)), MemoryReservation: new(int64(11 * mib))}, "error: above the memory limit"},

		{"cpus", Resources{CPUQuota: new(int64(150000)), CPUPeriod: new(uint64(100000))}, `{"cpu":{"quota":150000,"period":100000}}`},
		{"shares", Resources{CPUShares: new(uint64(512))}, `{"cpu":{"shares":512}}`},
		{"few shares", Resources{CPUShares: new(uint64(1))}, "error: want 2..262144"},
		{"many shares", Resources{CPUShares: new(uint64(262145))}, "error: want 2..262144"},
		{"small quota", Resources{CPUQuota: new(int64(999))}, "error: CPU quota"},
		{"negative quota", Resources{CPUQuota: new(int64(-2))}, "error: CPU quota"},
		{"short period", Resources{CPUPeriod: new(uint64(999))}, "error: CPU period"},
		{"long period", Resources{CPUPeriod: new(uint64(1000001))}, "error: CPU period"},
		{"cpuset", Resources{CpusetCpus: "0-1", CpusetMems: "0"}, `{"cpu":{"cpus":"0-1","mems":"0"}}`},
		{"bad cpuset", Resources{CpusetCpus: "1-0"}, "error: set of CPUs"},
		{"bad memory nodes", Resources{CpusetMems: "x"}, "error: set of memory nodes"},

		{"pids", Resources{PidsLimit: new(int64(10))}, `{"pids":{"limit":10}}`},
		{"unlimited pids", Resources{PidsLimit: new(int64(-1))}, `null`},
		{"negative pids", Resources{PidsLimit: new(int64(-2))}, "error: limit of processes"},

		{"throttles", Resources{DeviceReadBPS: []Throttle{{8, 0, 1}}, DeviceWriteBPS: []Throttle{{8, 1, 2}}, DeviceReadIOPS: []Throttle{{8, 2, 3}}, DeviceWriteIOPS: []Throttle{{8, 3, 4}}},
			`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":2}],` +
				`"throttleReadIOPSDevice":[{"major":8,"minor":2,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":3,"rate":4}]}}`},
		{"bad device", Resources{DeviceReadBPS: []Throttle{{-1, 0, 1}}}, "error: not a device number"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			img, files, o := alpine()
			o.Resources = tt.r
			s, err := New(img, files, o)
			if text, wantErr := strings.CutPrefix(tt.want, "error: "); wantErr {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), text) {
					t.Errorf("got %v, want an error with %q", err, text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(s.Linux.Resources); string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
