package unpack

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// benchLayer is about what a distribution's layer looks like: many small files, some large ones, a directory for every dozen.
func benchLayer(b *testing.B) []byte {
	r := rand.New(rand.NewPCG(1, 1))
	words := make([]byte, 1<<20) // compresses about threefold, as programs do
	for i := range words {
		words[i] = byte(r.IntN(6) * r.IntN(6))
	}
	var list []entry
	for d := range 200 {
		dir := fmt.Sprintf("usr/share/d%d", d)
		list = append(list, entry{typ: "dir", name: dir, mode: 0o755, mtime: 1e9})
		for f := range 12 {
			size, from := r.IntN(12<<10), r.IntN(len(words)/2)
			if f == 0 && d%20 == 0 {
				size, from = len(words), 0
			}
			list = append(list, entry{typ: "file", name: fmt.Sprintf("%s/f%d", dir, f), mode: 0o644, mtime: 1e9, content: string(words[from : from+size])})
		}
	}
	return tarOf(b, list)
}

// BenchmarkFlatten runs on a tmpfs of its own, with GNU tar beside it: compare the two within one run.
func BenchmarkFlatten(b *testing.B) {
	layer := benchLayer(b)
	for name, data := range map[string][]byte{"plain": layer, "gzip": gz(b, layer), "zstd": zst(b, layer)} {
		b.Run(name+"/umiak", func(b *testing.B) {
			bench(b, layer, func(dir string) error {
				_, err := flattenTo(b, dir, plain(data), Options{})
				return err
			})
		})
		if name == "zstd" {
			continue // tar would need zstd(1)
		}
		b.Run(name+"/tar", func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "layer")
			must(b, os.WriteFile(file, data, 0o600))
			flag := map[string]string{"plain": "-xpf", "gzip": "-xpzf"}[name]
			bench(b, layer, func(dir string) error { return exec.Command("tar", flag, file, "-C", dir).Run() })
		})
	}
}

func bench(b *testing.B, layer []byte, run func(dir string) error) {
	top := tmpfs(b, "size=1g")
	b.SetBytes(int64(len(layer)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(top, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o755))
		must(b, run(dir))
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}
