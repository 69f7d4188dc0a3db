package term

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/umiak/umiak/image/pull"
)

// script is a pull that shows the given snapshots, a second each.
func script(t *testing.T, s Screen, name string, snapshots ...pull.Snapshot) {
	t.Helper()
	var mu sync.Mutex
	current := pull.Snapshot{}
	stop := Draw(s, func() pull.Snapshot {
		mu.Lock()
		defer mu.Unlock()
		return current
	}, name)
	for _, snap := range snapshots {
		mu.Lock()
		current = snap
		mu.Unlock()
		time.Sleep(time.Second)
	}
	stop()
	stop() // does nothing
}

func downloading(n, total int64) pull.Snapshot {
	return pull.Snapshot{Phase: pull.PhaseDownloading, Bytes: n, TotalBytes: total, TotalLayers: 2}
}

func unpacking(layers int64) pull.Snapshot {
	return pull.Snapshot{Phase: pull.PhaseUnpacking, Bytes: 3_600_000, TotalBytes: 3_600_000, Layers: layers, TotalLayers: 2}
}

var (
	resolving = pull.Snapshot{Phase: pull.PhaseResolving}
	waiting   = pull.Snapshot{Phase: pull.PhaseWaiting}
	done      = pull.Snapshot{Phase: pull.PhaseDone, Bytes: 3_600_000, TotalBytes: 3_600_000, Layers: 2, TotalLayers: 2}
)

func repeat(s pull.Snapshot, n int) (list []pull.Snapshot) {
	for range n {
		list = append(list, s)
	}
	return list
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		about     string
		snapshots []pull.Snapshot
		want      string
	}{
		{"all in the cache", []pull.Snapshot{{}, {Phase: pull.PhaseDone}}, ""},
		{"nothing new", []pull.Snapshot{resolving, {Phase: pull.PhaseDone}}, ""},
		{"a short pull", []pull.Snapshot{resolving, downloading(1_000_000, 3_600_000), unpacking(1), done},
			"pulling alpine: 1.0 MB of 3.6 MB\npulled alpine: 3.6 MB in 4.0 s\n"},
		{"a long one", append(repeat(downloading(500, 1500), 22), append(repeat(unpacking(1), 11), done)...),
			"pulling alpine: 500 B of 1.5 kB\npulling alpine: 500 B of 1.5 kB, nothing came for 10 s\npulling alpine: 500 B of 1.5 kB, nothing came for 20 s\npulling alpine: unpacked 1 of 2 layers\npulled alpine: 3.6 MB in 34.0 s\n"},
		{"a slow one", append(append(repeat(downloading(1000, 9000), 9), downloading(1001, 9000)), repeat(downloading(2000, 9000), 6)...),
			"pulling alpine: 1.0 kB of 9.0 kB\npulling alpine: 2.0 kB of 9.0 kB\n"},
		{"slow unpacking", append([]pull.Snapshot{downloading(1, 2)}, repeat(unpacking(1), 30)...),
			"pulling alpine: 1 B of 2 B\npulling alpine: unpacked 1 of 2 layers\npulling alpine: unpacked 1 of 2 layers (19 s)\npulling alpine: unpacked 1 of 2 layers (29 s)\n"},
		{"one that fails", []pull.Snapshot{resolving, downloading(1, 2)}, "pulling alpine: 1 B of 2 B\n"},
		{"another does the work", append(repeat(waiting, 15), pull.Snapshot{Phase: pull.PhaseDone}),
			"pulling alpine: waiting for another umiak that pulls the same\n"},
		{"a silent registry", repeat(resolving, 25), "pulling alpine: asking the registry\npulling alpine: asking the registry (20 s)\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			script(t, Screen{Writer: &b}, "alpine", c.snapshots...)
			if b.String() != c.want {
				t.Errorf("%s:\n%swant:\n%s", c.about, b.String(), c.want)
			}
		})
	}
}

// screen is what a terminal of one line shows of what was written to it.
func screen(t *testing.T, written string, width int) (frames []string) {
	t.Helper()
	var now []rune
	col := 0
	shown := func() {
		if s := strings.TrimRight(string(now), " "); len(frames) == 0 || frames[len(frames)-1] != s {
			frames = append(frames, s)
		}
	}
	for written != "" {
		switch {
		case strings.HasPrefix(written, "\x1b[2K"):
			shown()
			now, written = nil, written[4:]
		case strings.HasPrefix(written, "\x1b[0K"):
			now, written = now[:min(col, len(now))], written[4:]
		case written[0] == '\r':
			shown()
			col, written = 0, written[1:]
		case written[0] < ' ':
			t.Fatalf("control character in %q", written[:10])
		default:
			r := []rune(written)[0]
			written = written[len(string(r)):]
			for len(now) <= col {
				now = append(now, ' ')
			}
			now[col] = r
			if col++; col >= width {
				t.Fatalf("the line is too long for %d columns: %q", width, string(now))
			}
		}
	}
	shown()
	return frames
}

func TestTerminal(t *testing.T) {
	pulling := []pull.Snapshot{resolving, waiting, downloading(0, 3_600_000), downloading(1_800_000, 3_600_000), downloading(3_500_000, 4_000_000), unpacking(0), unpacking(1), done}
	for _, c := range []struct {
		about, name string
		width       int
		snapshots   []pull.Snapshot
		want        []string // in this order, among others
		not         string
	}{
		{"all in the cache", "alpine", 80, []pull.Snapshot{{}, {Phase: pull.PhaseDone}}, nil, "alpine"},
		{"a pull", "alpine:3.20", 100, pulling, []string{
			"alpine:3.20: asking the registry", "alpine:3.20: waiting for", "alpine:3.20   0% |", "alpine:3.20  50% |█████", "(1.8/3.6 MB", "  87% |",
			"alpine:3.20: unpacked 0 of 2 layers", "alpine:3.20: unpacked 1 of 2 layers",
		}, "100%"},
		{"narrow", "alpine:3.20", 40, pulling, []string{"alpine:3.20: asking the registry", "alpine:3.20: 1.8 MB of 3.6 MB", "unpacked 1 of 2"}, "|"},
		{"tiny", "alpine:3.20", 5, pulling, []string{"alpi"}, "|"},
		{"a long name", "registry.example/a/very/long/path/to/an/app:1.2", 80, pulling, []string{"…ery/long/path/to/an/app:1.2: asking", "app:1.2  50% |"}, "registry."},
		{"as wide as most", "127.0.0.1:5000/alpine:3.20", 80, []pull.Snapshot{downloading(999_949, 999_999_949), downloading(999_998_949, 999_999_949)}, []string{"alpine:3.20   0% |", "alpine:3.20  99% |"}, "["},
		{"wide", "127.0.0.1:5000/alpine:3.20", 120, []pull.Snapshot{downloading(999_949, 999_999_949), downloading(998_949, 999_999_949)}, []string{"alpine:3.20   0% |", "[1s:"}, "registry."},
	} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			script(t, Screen{Writer: &b, Terminal: true, Width: c.width}, c.name, c.snapshots...)
			frames := screen(t, b.String(), c.width)
			all := strings.Join(frames, "\n")
			rest := all
			for _, w := range c.want {
				i := strings.Index(rest, w)
				if i < 0 {
					t.Errorf("%s: want %q in\n%s", c.about, w, rest)
					break
				}
				rest = rest[i:]
			}
			if strings.Contains(all, c.not) {
				t.Errorf("%s: %q is in\n%s", c.about, c.not, all)
			}
			if frames[len(frames)-1] != "" {
				t.Errorf("%s: %q is left on the screen", c.about, frames[len(frames)-1])
			}
		})
	}
}

// The rate is that of the line, from the first that is shown to the last.
func TestRate(t *testing.T) {
	const perSecond, total = 200_000, 4_800_000
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		start := time.Now()
		stop := Draw(Screen{Writer: &b, Terminal: true, Width: 80}, func() pull.Snapshot {
			return downloading(int64(time.Since(start).Seconds()*perSecond), total)
		}, "alpine")
		time.Sleep(10 * time.Second)
		stop()
		frames := screen(t, b.String(), 80)
		if !strings.HasPrefix(frames[0], "alpine: 20.0 kB of 4.8 MB") {
			t.Errorf("starts with %q", frames[0])
		}
		rates := 0
		for _, f := range frames {
			_, rate, ok := strings.Cut(f, " MB, ")
			if !ok {
				_, rate, ok = strings.Cut(f, "MB, ")
			}
			if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rate), " kB/s)")); ok && (err != nil || n < 180 || n > 250) {
				t.Errorf("shows %q, of 200 kB/s", f)
			} else if ok {
				rates++
			}
		}
		if rates < 50 {
			t.Errorf("the rate was shown %d times; the last is %q", rates, frames[len(frames)-2])
		}
	})
}

func TestScreenOf(t *testing.T) {
	if s := ScreenOf(&bytes.Buffer{}); s.Terminal {
		t.Error("a buffer is a terminal")
	}
	var m *pull.Meter
	Show(&bytes.Buffer{}, m, "x")() // a pull without a meter
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 3_623_807: "3.6 MB", 999_960: "1.0 MB", 1 << 62: "4611.7 PB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	err := Table(&b, [][]string{{"IMAGE", "SIZE", "PULLED"}, {"alpine:3.20", "3.6 MB", "2 days ago"}, {"ä", "1 B", ""}})
	want := "IMAGE         SIZE     PULLED\nalpine:3.20   3.6 MB   2 days ago\nä             1 B      \n"
	if err != nil || b.String() != want {
		t.Errorf("%v\n%q\n%q", err, b.String(), want)
	}
}
