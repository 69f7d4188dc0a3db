package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// comparison is a set of rows and the one that the others are measured by.
type comparison struct {
	title     string
	reference *row // nil if there is none
	rows      []*row
	notes     []string
}

// of is a row's ratios to the reference.
func (c comparison) of(r *row) (s summary) {
	s = summarize(r.samples)
	if c.reference != nil && len(c.reference.samples) > 0 {
		ref := summarize(c.reference.samples)
		s.wallRatio, s.cpuRatio = ratio(s.median, ref.median), ratio(s.cpu, ref.cpu)
	}
	return s
}

// print writes the table. A row that was not measured is there too, by its name.
func (c comparison) print(w io.Writer, markdown bool) {
	fmt.Fprintf(w, "\n%s\n\n", c.title)
	table := [][]string{{"", "×wall", "×CPU", "min", "median", "p90", "CPU", "runs", ""}}
	var left []string
	for _, r := range c.rows {
		if r.left != "" {
			left = append(left, r.name+": "+r.left)
			continue
		}
		s := c.of(r)
		table = append(table, []string{r.name, times(s.wallRatio), times(s.cpuRatio), short(s.min), short(s.median), short(s.p90),
			short(s.cpu), strconv.Itoa(s.n), r.what})
	}
	if markdown {
		writeMarkdown(w, table)
	} else {
		writePlain(w, table)
	}
	for _, note := range append(left, c.notes...) {
		fmt.Fprintf(w, "- %s\n", note)
	}
}

// writePlain aligns: the first and the last column to the left, numbers to the right.
func writePlain(w io.Writer, table [][]string) {
	width := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range table {
		var out strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 || i == len(line)-1 {
				out.WriteString(cell + pad + "  ")
			} else {
				out.WriteString(pad + cell + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(out.String(), " "))
	}
}

func writeMarkdown(w io.Writer, table [][]string) {
	for i, line := range table {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---%s|---|\n", strings.Repeat("|---:", len(line)-2))
		}
	}
	fmt.Fprintln(w)
}

// times writes a ratio with two digits behind the point, which is more than repeats.
func times(x float64) string {
	if x == 0 {
		return "–"
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// short writes a duration with three digits, in µs below 10 ms.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// conclude prints the ratios that matter most, once more and in a few words.
func (b *bench) conclude() {
	fmt.Fprintln(b.out)
	for _, r := range b.ratios {
		if r.a.left != "" || r.b.left != "" {
			continue
		}
		a, b2 := summarize(r.a.samples), summarize(r.b.samples)
		fmt.Fprintf(b.out, "%-38s %s × wall  %s × CPU\n", r.a.name+" / "+r.b.name, times(ratio(a.median, b2.median)), times(ratio(a.cpu, b2.cpu)))
	}
}
