package inflate

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"testing"
)

func TestLevels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 400 {
		n := r.IntN(200000)
		if i < 50 {
			n = i
		}
		data := make([]byte, n)
		k := r.IntN(256) + 1
		for j := range data {
			if r.IntN(4) == 0 && j > 100 {
				data[j] = data[j-1-r.IntN(100)]
			} else {
				data[j] = byte(r.IntN(k))
			}
		}
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, i%12-2)
		w.Write(data)
		w.Close()
		got, err := io.ReadAll(newReader(bytes.NewReader(b.Bytes()), 64+r.IntN(5000), 512+r.IntN(100000)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d: %d bytes of %d, %v", i, len(got), n, err)
		}
	}
}
