package pull

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image/registry"
)

// A bit that flips on the way costs another try, and a wrong layer no more than
// that.
func TestDamagedOnTheWay(t *testing.T) {
	for times, ok := range map[int]bool{1: true, 1 << 30: false} {
		reg, dir := serve(t), t.TempDir()
		img := build(t, []string{"a", "1"}, []string{"b", "2"})
		ref := reg.push(t, "o/r:t", img)
		want := mustPull(t, ref, Options{Cache: openCache(t, t.TempDir())})
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		rc, err := layers[1].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.LimitReader(rc, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		reg.reset()
		last := digests(t, img)[1]
		reg.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, last) || reg.count(last) > times {
				return false
			}
			_, _ = w.Write(b)
			return true
		})
		var m Meter
		res, err := Pull(t.Context(), ref, Options{Cache: openCache(t, dir), Source: registry.New(registry.Options{}), Meter: &m})
		if n := reg.count(last); n != 2 {
			t.Errorf("asked %d times for the layer", n)
		}
		if !ok {
			if !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), last) {
				t.Errorf("always damaged: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("damaged once: %v", err)
			continue
		}
		res.Root.Close()
		total := want.Image.Size + int64(len(b))
		if s := m.Snapshot(); res.file("a")+res.file("b") != "12" || res.Bytes != total || s.Bytes != total || s.TotalBytes != total {
			t.Errorf("received %d bytes, want %d; the meter shows %+v", res.Bytes, total, s)
		}
	}
}
