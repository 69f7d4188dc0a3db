package pull

import (
	"testing"

	"github.com/umiak/umiak/image"
)

// What a run of a cached image pays for its image.
func BenchmarkWarm(b *testing.B) {
	reg, dir := serve(b), b.TempDir()
	c := openCache(b, dir)
	ref := reg.push(b, "o/r:t", build(b, []string{"a", "1"}, []string{"b", "2"}))
	mustPull(b, ref, Options{Cache: c}).Root.Close()
	b.ResetTimer()
	for b.Loop() {
		ref, err := image.Parse(ref.String())
		if err != nil {
			b.Fatal(err)
		}
		res, err := Pull(b.Context(), ref, Options{Cache: c})
		if err != nil {
			b.Fatal(err)
		}
		res.Root.Close()
	}
}
