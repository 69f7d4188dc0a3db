package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/umiak/umiak/cmd/term"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/run"
)

// reportFlag is --report, a table on standard error, or --report=FILE, JSON in a file or in the
// descriptor of fd:N.
type reportFlag struct{ spec string }

// reportTable is --report's value when it has none.
const reportTable = "stderr"

func (f *reportFlag) Set(s string) error {
	if s == "" {
		return errors.New("it takes no value, or a file's name")
	}
	f.spec = s
	return nil
}
func (f *reportFlag) String() string { return f.spec }
func (f *reportFlag) Type() string   { return "file" }

// wanted says whether the run is to be measured.
func (f *reportFlag) wanted() bool { return f.spec != "" }

// open opens the file, so that one that can't be written is known before anything runs. It gives
// nil where there is none.
func (f *reportFlag) open() (*output, error) {
	if f.spec == "" || f.spec == reportTable {
		return nil, nil
	}
	out, err := openOutput(f.spec)
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	return out, nil
}

// report is what a run has used: as JSON, with every number in the unit that its name ends with.
// What is not known is null; a limit that is null was not set.
type report struct {
	V    int         `json:"v"` // 1; it changes when a field changes its meaning, not when one is added
	ID   string      `json:"id"`
	Pull *pullReport `json:"pull"` // null for a run of a plain directory
	Run  struct {
		Start   string  `json:"start"` // RFC 3339, UTC: the command was exec'ed
		End     string  `json:"end"`   // its last process was gone
		Seconds float64 `json:"seconds"`
		Status  int     `json:"status"` // as umiak exits
		Signal  *string `json:"signal"`
	} `json:"run"`
	CPU struct {
		Seconds          float64  `json:"seconds"` // of all CPUs together
		UserSeconds      float64  `json:"user_seconds"`
		SystemSeconds    float64  `json:"system_seconds"`
		Limit            *float64 `json:"limit"`             // CPUs
		Periods          *uint64  `json:"periods"`           // in which it had something to do
		ThrottledPeriods *uint64  `json:"throttled_periods"` // of those, in which it met the limit
		ThrottledSeconds *float64 `json:"throttled_seconds"`
	} `json:"cpu"`
	Memory struct {
		PeakBytes           *uint64 `json:"peak_bytes"`            // page cache included, as in the limit
		LargestProcessBytes *int64  `json:"largest_process_bytes"` // resident
		LimitBytes          *int64  `json:"limit_bytes"`
		OOMKills            *uint64 `json:"oom_kills"`
	} `json:"memory"`
	IO struct {
		ReadBytes         int64   `json:"read_bytes"`          // from block devices
		WrittenBytes      *uint64 `json:"written_bytes"`       // to block devices, until the end
		WrittenFilesBytes int64   `json:"written_files_bytes"` // to files on block devices, if only into the page cache
	} `json:"io"`
	Processes struct {
		Peak  *uint64 `json:"peak"` // and threads
		Limit *int64  `json:"limit"`
	} `json:"processes"`
}

type pullReport struct {
	Image       string  `json:"image"`
	Digest      *string `json:"digest"`
	Cached      bool    `json:"cached"`       // nobody was asked
	Bytes       int64   `json:"bytes"`        // that came from the registry, layers only
	CachedBytes int64   `json:"cached_bytes"` // of layers that need not come
	Seconds     float64 `json:"seconds"`
}

// ran is what a report is made from.
type ran struct {
	id     string
	image  *pull.Result // nil without an image
	pulled time.Duration
	limits *specs.LinuxResources // may be nil
	ended  run.Status
	status int // what umiak makes of it
}

func newReport(x ran) *report {
	r := &report{V: 1, ID: x.id, Pull: newPullReport(x.image, x.pulled)}
	u := x.ended.Usage
	r.Run.Start, r.Run.End = u.Start.UTC().Format(time.RFC3339Nano), u.End.UTC().Format(time.RFC3339Nano)
	r.Run.Seconds, r.Run.Status, r.Run.Signal = seconds(u.Wall()), x.status, signalName(x.ended.Signal)
	r.addLimits(x.limits)
	r.addUsage(x.ended)
	return r
}

func newPullReport(p *pull.Result, took time.Duration) *pullReport {
	if p == nil {
		return nil
	}
	return &pullReport{
		Image: p.Image.Reference.String(), Digest: orNull(p.Image.Digest.String()),
		Cached: !p.Pulled, Bytes: p.Bytes, CachedBytes: max(p.Image.Size-p.Bytes, 0), Seconds: seconds(took),
	}
}

func (r *report) addLimits(l *specs.LinuxResources) {
	if l == nil {
		return
	}
	if l.Memory != nil {
		r.Memory.LimitBytes = positive(l.Memory.Limit)
	}
	if l.Pids != nil {
		r.Processes.Limit = positive(l.Pids.Limit)
	}
	if c := l.CPU; c != nil && positive(c.Quota) != nil {
		period := uint64(100000) // the kernel's own, in µs
		if c.Period != nil && *c.Period != 0 {
			period = *c.Period
		}
		r.CPU.Limit = new(float64(*c.Quota) / float64(period))
	}
}

// positive is nil for the spec's ways to say no limit.
func positive(n *int64) *int64 {
	if n == nil || *n <= 0 {
		return nil
	}
	return n
}

// addUsage takes wait4's numbers where the cgroup has none. Of CPU time the cgroup's are the coarser
// on v1, but they miss no process: wait4's are of those only that somebody has waited for.
func (r *report) addUsage(s run.Status) {
	u, g := s.Usage, s.Group
	r.CPU.Seconds = seconds(u.User + u.System)
	r.CPU.UserSeconds, r.CPU.SystemSeconds = seconds(u.User), seconds(u.System)
	const noise = 20 * time.Millisecond
	if g.CPU != nil && g.CPUUser != nil && g.CPUSystem != nil && *g.CPU > u.User+u.System+noise {
		r.CPU.Seconds, r.CPU.UserSeconds, r.CPU.SystemSeconds = seconds(*g.CPU), seconds(*g.CPUUser), seconds(*g.CPUSystem)
	}
	r.CPU.Periods, r.CPU.ThrottledPeriods = g.Periods, g.Throttled
	if g.ThrottledTime != nil {
		r.CPU.ThrottledSeconds = new(seconds(*g.ThrottledTime))
	}
	r.Memory.PeakBytes, r.Memory.LargestProcessBytes, r.Memory.OOMKills = g.MemoryPeak, u.MaxRSS, g.OOMKills
	if s.OOMKills > 0 {
		r.Memory.OOMKills = &s.OOMKills
	}
	r.IO.ReadBytes, r.IO.WrittenFilesBytes = u.Read, u.Written
	if g.BytesRead != nil {
		r.IO.ReadBytes = int64(*g.BytesRead)
	}
	r.IO.WrittenBytes = g.BytesWritten
	r.Processes.Peak = g.TasksPeak
}

// write writes the report into its file, or as a table to w where that is nil.
func (r *report) write(out *output, w io.Writer) error {
	if out == nil {
		return r.table(w)
	}
	b, err := encodeJSON(r, "  ")
	if err == nil {
		err = out.write(b)
	}
	if err = errors.Join(err, out.close()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// table is the report for people. Memory is in the units of its limit, 1024 to the KiB; what
// travels and what is on disks in those they are sold by.
func (r *report) table(w io.Writer) error {
	ended := fmt.Sprintf("status %d", r.Run.Status)
	if r.Run.Signal != nil {
		ended = *r.Run.Signal
	}
	rows := [][]string{
		{"ended", ended},
		{"wall time", spanText(r.Run.Seconds)},
		{"cpu time", fmt.Sprintf("%s (%s user, %s system)", spanText(r.CPU.Seconds), spanText(r.CPU.UserSeconds), spanText(r.CPU.SystemSeconds))},
		{"throttled", r.throttled()},
		{"peak memory", known(r.Memory.PeakBytes, memoryText) + limitText(r.Memory.LimitBytes, func(n int64) string { return memoryText(uint64(n)) })},
		{"largest process", known(r.Memory.LargestProcessBytes, func(n int64) string { return memoryText(uint64(n)) })},
		{"OOM kills", known(r.Memory.OOMKills, decimal)},
		{"processes", known(r.Processes.Peak, func(n uint64) string { return "at most " + decimal(n) + " at a time, with threads" }) + limitText(r.Processes.Limit, func(n int64) string { return itoa(int(n)) })},
		{"read from disk", sizeText(r.IO.ReadBytes)},
		{"written to disk", known(r.IO.WrittenBytes, func(n uint64) string { return sizeText(int64(n)) })},
		{"written to files", sizeText(r.IO.WrittenFilesBytes)},
	}
	if r.Pull != nil {
		rows = append(rows, []string{"image", r.Pull.Image}, []string{"pull", r.Pull.text()})
	}
	var b strings.Builder
	for i := range rows {
		rows[i][0] = "  " + rows[i][0]
	}
	if err := term.Table(&b, rows); err != nil {
		return err
	}
	_, err := io.WriteString(w, "umiak: report of "+r.ID+"\n"+b.String())
	return err
}

func (r *report) throttled() string {
	switch {
	case r.CPU.Limit == nil:
		return "no CPU limit"
	case r.CPU.ThrottledPeriods == nil || r.CPU.Periods == nil:
		return "unknown, limit " + cpusText(*r.CPU.Limit)
	}
	return fmt.Sprintf("%s, in %d of %d periods, limit %s", known(r.CPU.ThrottledSeconds, spanText),
		*r.CPU.ThrottledPeriods, *r.CPU.Periods, cpusText(*r.CPU.Limit))
}

func cpusText(n float64) string { return strconv.FormatFloat(n, 'g', 4, 64) + " CPUs" }

func (p *pullReport) text() string {
	if p.Cached {
		return "none, all cached"
	}
	return fmt.Sprintf("%s in %s, %s cached", sizeText(p.Bytes), spanText(p.Seconds), sizeText(p.CachedBytes))
}

func known[T any](p *T, format func(T) string) string {
	if p == nil {
		return "unknown"
	}
	return format(*p)
}

func limitText(p *int64, format func(int64) string) string {
	if p == nil {
		return ""
	}
	return ", limit " + format(*p)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// spanText is a time to the hundredth of a second, below one to the millisecond.
func spanText(s float64) string {
	if s >= 60 {
		return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
	}
	places := 2
	if s < 1 {
		places = 3
	}
	return strconv.FormatFloat(s, 'f', places, 64) + " s"
}

func memoryText(n uint64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1023.5 {
			break
		}
		f, unit = f/1024, u
	}
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64) + " " + unit
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + unit
}
