package manifest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkWrite describes a tree of 1000 files of 100 kB and 4000 of 1 kB.
func BenchmarkWrite(b *testing.B) {
	dir := tmpfs(b)
	data := make([]byte, 100_000)
	for d := range 100 {
		sub := filepath.Join(dir, fmt.Sprint("d", d))
		check(b, os.Mkdir(sub, 0o755))
		for f := range 50 {
			size := 1000
			if f < 10 {
				size = len(data)
			}
			check(b, os.WriteFile(filepath.Join(sub, fmt.Sprint("f", f)), data[:size], 0o644))
		}
	}
	f, err := os.Open(dir)
	check(b, err)
	defer f.Close()
	b.SetBytes(104_000_000)
	b.ReportAllocs()
	for b.Loop() {
		_, err := Write(b.Context(), f, io.Discard)
		check(b, err)
	}
}

// More files than may be pending, large and small, keep their order.
func TestManyFiles(t *testing.T) {
	dir := tmpfs(t)
	check(t, os.WriteFile(filepath.Join(dir, "0"), make([]byte, 64<<20), 0o600))
	for i := range 1500 {
		check(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d", i)), make([]byte, i*i%30_000), 0o600))
	}
	check(t, os.Link(filepath.Join(dir, "0"), filepath.Join(dir, "1")))
	m, _ := write(t, dir)
	if list, err := differences(t, dir, m); err != nil || list != nil {
		t.Errorf("%v, %q", err, list)
	}
}
