package main

import (
	"strings"
	"testing"
	"time"
)

func example() comparison {
	reference := &row{name: "floor", what: "the least", samples: []timing{{time.Millisecond, 500 * time.Microsecond}}}
	return comparison{title: "A title", reference: reference, notes: []string{"a note"}, rows: []*row{
		reference,
		{name: "umiak", what: "all", samples: []timing{{12345 * time.Microsecond, 750 * time.Microsecond}}},
		leftOut("crun", "not installed"),
	}}
}

func TestPlainTable(t *testing.T) {
	var out strings.Builder
	example().print(&out, false)
	want := `
A title

       ×wall  ×CPU      min   median      p90     CPU  runs
floor   1.00  1.00  1000 µs  1000 µs  1000 µs  500 µs     1  the least
umiak  12.35  1.50    12 ms    12 ms    12 ms  750 µs     1  all
- crun: not installed
- a note
`
	if out.String() != want {
		t.Errorf("got:%s\nwant:%s", out.String(), want)
	}
}

func TestMarkdownTable(t *testing.T) {
	var out strings.Builder
	example().print(&out, true)
	for _, want := range []string{
		"|  | ×wall | ×CPU | min | median | p90 | CPU | runs |  |\n|---|---:|---:|---:|---:|---:|---:|---:|---|\n",
		"| umiak | 12.35 | 1.50 | 12 ms | 12 ms | 12 ms | 750 µs | 1 | all |\n",
		"\n- crun: not installed\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 1500 * time.Nanosecond: "1 µs", 9999 * time.Microsecond: "9999 µs", 10 * time.Millisecond: "10 ms",
		9999 * time.Millisecond: "9999 ms", 12340 * time.Millisecond: "12.3 s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}
