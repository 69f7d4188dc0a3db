// Package term draws what others count: the progress of a pull, and tables.
//
// It looks at a meter at its own pace and never makes a pull wait. It decides
// nothing: who calls it has decided that something is to be shown, and where.
package term

import (
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/umiak/umiak/image/pull"
	xterm "golang.org/x/term"
)

// How often to look. Lines in a log are for people who read them later.
const (
	frame = 100 * time.Millisecond
	every = 10 * time.Second
)

// A Screen is where to draw: on a terminal one line that changes, elsewhere few
// lines that don't.
type Screen struct {
	Writer   io.Writer
	Terminal bool
	Width    int // of the terminal, in columns
}

// ScreenOf finds out what w is.
func ScreenOf(w io.Writer) Screen {
	s := Screen{Writer: w}
	if f, ok := w.(*os.File); ok && xterm.IsTerminal(int(f.Fd())) {
		s.Terminal = true
		s.Width, _, _ = xterm.GetSize(int(f.Fd()))
		if s.Width <= 0 {
			s.Width = 80 // serial lines don't say
		}
	}
	return s
}

// Show draws the progress of the pull of name on w until stop is called.
func Show(w io.Writer, m *pull.Meter, name string) (stop func()) {
	return Draw(ScreenOf(w), m.Snapshot, name)
}

// Draw is Show for a screen that is known and any source of snapshots. Nothing at
// all is drawn for a pull that finds everything in the cache.
func Draw(s Screen, sample func() pull.Snapshot, name string) (stop func()) {
	var d drawer = &lines{w: s.Writer, name: name, start: time.Now()}
	if s.Terminal {
		d = newLine(s, name)
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(frame)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				d.update(sample())
			case <-quit:
				d.end(sample())
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-ended
	})
}

type drawer interface {
	update(pull.Snapshot)
	end(pull.Snapshot)
}

// status is what there is to say when it isn't a number of bytes.
func status(s pull.Snapshot) string {
	switch s.Phase {
	case pull.PhaseResolving:
		return "asking the registry"
	case pull.PhaseWaiting:
		return "waiting for another umiak that pulls the same"
	case pull.PhaseDownloading:
		if s.Bytes < s.TotalBytes {
			return fmt.Sprintf("%s of %s", size(s.Bytes), size(s.TotalBytes))
		}
	case pull.PhaseUnpacking:
	default:
		return ""
	}
	return fmt.Sprintf("unpacked %d of %d layers", s.Layers, s.TotalLayers)
}

// lines says what happens a few times, and the result.
type lines struct {
	w     io.Writer
	name  string
	start time.Time
	last  time.Time     // of the last line; zero before the first
	said  string        // in the last line
	seen  pull.Snapshot // the last one
	moved time.Time     // when it was first seen
}

func (l *lines) update(s pull.Snapshot) {
	if s != l.seen || l.moved.IsZero() {
		l.seen, l.moved = s, time.Now()
	}
	first := l.last.IsZero() && s.TotalBytes > 0
	late := time.Since(l.start) >= every && time.Since(l.last) >= every
	text := status(s)
	if text == "" || !first && !late {
		return
	}
	if still := time.Since(l.moved); still >= every {
		text += standstill(s.Phase, still)
	}
	if text == l.said {
		return
	}
	l.last, l.said = time.Now(), text
	fmt.Fprintf(l.w, "pulling %s: %s\n", l.name, text)
}

// standstill is for a log where the same would be said again.
func standstill(p pull.Phase, d time.Duration) string {
	if p == pull.PhaseDownloading {
		return fmt.Sprintf(", nothing came for %.0f s", d.Seconds())
	}
	return fmt.Sprintf(" (%.0f s)", d.Seconds())
}

func (l *lines) end(s pull.Snapshot) {
	if s.Phase == pull.PhaseDone && s.TotalBytes > 0 {
		fmt.Fprintf(l.w, "pulled %s: %s in %s\n", l.name, size(s.Bytes), duration(time.Since(l.start)))
	}
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// size is in decimal units, as registries and disks count.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 999.95 && unit < 5 {
		f /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", f, " kMGTP"[unit])
}

// Table prints rows in columns.
func Table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
