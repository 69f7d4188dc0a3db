package pull

import "sync/atomic"

// A Phase is what a pull is doing.
type Phase int32

// The phases, in their order. Unpacking starts while layers are still coming in;
// the phase is named for what there is to wait for.
const (
	PhaseIdle Phase = iota
	PhaseResolving
	PhaseWaiting // for another process that makes the same root
	PhaseDownloading
	PhaseUnpacking
	PhaseDone // and nothing failed
)

// A Meter counts what a pull does. The pull only ever adds to it, so that whoever
// looks, or doesn't, can't slow it down. A nil Meter counts nothing.
type Meter struct {
	phase                       atomic.Int32
	bytes, totalBytes           atomic.Int64
	layersUnpacked, totalLayers atomic.Int64
}

// A Snapshot is a Meter at one moment. Bytes are those that travel.
type Snapshot struct {
	Phase               Phase
	Bytes, TotalBytes   int64
	Layers, TotalLayers int64
}

// Snapshot reads the meter.
func (m *Meter) Snapshot() Snapshot {
	if m == nil {
		return Snapshot{}
	}
	return Snapshot{
		Phase: Phase(m.phase.Load()),
		Bytes: m.bytes.Load(), TotalBytes: m.totalBytes.Load(),
		Layers: m.layersUnpacked.Load(), TotalLayers: m.totalLayers.Load(),
	}
}

func (m *Meter) enter(p Phase) {
	if m != nil {
		m.phase.Store(int32(p))
	}
}

func (m *Meter) expect(bytes int64) {
	if m != nil {
		m.totalBytes.Add(bytes)
	}
}

func (m *Meter) expectLayers(n int) {
	if m != nil {
		m.totalLayers.Add(int64(n))
	}
}

func (m *Meter) add(bytes int64) {
	if m != nil {
		m.bytes.Add(bytes)
	}
}

func (m *Meter) layerDone() {
	if m != nil {
		m.layersUnpacked.Add(1)
	}
}
