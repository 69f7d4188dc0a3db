package term

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/umiak/umiak/image/pull"
)

// Beside the bar stand the percentage, the bytes and the rate, and on a wide
// terminal the time it took and will take. On a narrower one they would wrap, and
// what wraps can't be drawn over.
const (
	beside    = 42
	times     = 16
	wide      = 100
	smallest  = 10
	clearLine = "\r\x1b[2K"
)

// settle is how long to wait with the bar and its rate. The library divides what
// there is by the time since it was first told, which at first is none.
const settle = 500 * time.Millisecond

// line is one line of a terminal: a bar while bytes come in, words before and
// after.
type line struct {
	w     io.Writer
	name  string
	width int
	bar   *progressbar.ProgressBar
	since time.Time // when the bar began to count
	total int64
	shown bool   // the bar is on the screen
	drawn string // the words on the screen
}

func newLine(s Screen, name string) *line {
	if r, limit := []rune(name), max(s.Width-beside-smallest, s.Width/3, smallest+2); len(r) > limit {
		name = "…" + string(r[len(r)-limit+1:]) // the end says more than the registry
	}
	// The library would find out for itself about a file, and sync it each time.
	return &line{w: struct{ io.Writer }{s.Writer}, name: name, width: s.Width}
}

// room is how wide a bar there is place for.
func (l *line) room() int {
	room := l.width - beside - len([]rune(l.name))
	if l.width >= wide {
		room -= times
	}
	return min(room, 40)
}

func (l *line) update(s pull.Snapshot) {
	if s.Phase == pull.PhaseDownloading && s.Bytes < s.TotalBytes && l.room() >= smallest {
		l.start(s)
		if !l.shown && time.Since(l.since) > settle {
			l.erase()
			l.shown = true
		}
		l.count(s)
		if l.shown {
			return
		}
	}
	if text := status(s); text != "" {
		l.say(l.name + ": " + text)
	}
}

// start starts the bar's clock. Its writer drops what it draws until it's to be seen.
func (l *line) start(s pull.Snapshot) {
	if l.bar != nil {
		return
	}
	l.total, l.since = s.TotalBytes, time.Now()
	l.bar = progressbar.NewOptions64(l.total,
		progressbar.OptionSetWriter(barWriter{l}), // its default is standard output
		progressbar.OptionSetDescription(l.name),
		progressbar.OptionSetWidth(l.room()),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetPredictTime(l.width >= wide),
	)
	l.bar.StartWithoutRender()
}

func (l *line) count(s pull.Snapshot) {
	if l.total != s.TotalBytes {
		l.total = s.TotalBytes
		l.bar.ChangeMax64(l.total)
	}
	// What it complains about is a terminal that is gone.
	_ = l.bar.Set64(s.Bytes)
}

type barWriter struct{ l *line }

func (b barWriter) Write(p []byte) (int, error) {
	if !b.l.shown {
		return len(p), nil
	}
	return b.l.w.Write(p)
}

// say replaces whatever is drawn by text.
func (l *line) say(text string) {
	if r := []rune(text); len(r) >= l.width {
		text = string(r[:max(l.width-1, 0)])
	}
	if text == l.drawn {
		return
	}
	l.erase()
	l.drawn = text
	fmt.Fprint(l.w, text)
}

func (l *line) erase() {
	if l.shown || l.drawn != "" {
		fmt.Fprint(l.w, clearLine)
	}
	l.shown, l.drawn = false, ""
}

// end leaves the line as it was: what matters is said by others.
func (l *line) end(pull.Snapshot) { l.erase() }
