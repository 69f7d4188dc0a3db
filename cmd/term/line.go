package term

import (
	"fmt"
	"io"

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

// line is one line of a terminal: a bar while bytes come in, words before and
// after.
type line struct {
	w     io.Writer
	name  string
	width int
	bar   *progressbar.ProgressBar
	total int64
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
		l.drawBar(s)
		return
	}
	if text := status(s); text != "" {
		l.say(l.name + ": " + text)
	}
}

func (l *line) drawBar(s pull.Snapshot) {
	if l.bar == nil {
		l.clear()
		l.total = s.TotalBytes
		l.bar = progressbar.NewOptions64(l.total,
			progressbar.OptionSetWriter(l.w), // its default is standard output
			progressbar.OptionSetDescription(l.name),
			progressbar.OptionSetWidth(l.room()),
			progressbar.OptionShowBytes(true),
			progressbar.OptionShowCount(),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetPredictTime(l.width >= wide),
		)
	}
	if l.total != s.TotalBytes {
		l.total = s.TotalBytes
		l.bar.ChangeMax64(l.total)
	}
	// What it complains about is a terminal that is gone.
	_ = l.bar.Set64(s.Bytes)
}

// say replaces whatever is drawn by text.
func (l *line) say(text string) {
	if r := []rune(text); len(r) >= l.width {
		text = string(r[:max(l.width-1, 0)])
	}
	if text == l.drawn {
		return
	}
	l.clear()
	l.drawn = text
	fmt.Fprint(l.w, text)
}

func (l *line) clear() {
	if l.bar != nil || l.drawn != "" {
		fmt.Fprint(l.w, clearLine)
	}
	l.bar, l.drawn = nil, ""
}

// end leaves the line as it was: what matters is said by others.
func (l *line) end(pull.Snapshot) { l.clear() }
