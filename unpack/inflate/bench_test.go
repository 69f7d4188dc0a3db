package inflate

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// benchSize bounds the material: enough to leave the caches, little enough for a benchmark to repeat.
const benchSize = 24 << 20

// material is what layers are made of: source text, a program, and what lies about in /usr/share.
func material(b *testing.B) map[string][]byte {
	goroot := runtime.GOROOT()
	exe, err := os.ReadFile(filepath.Join(goroot, "bin", "go"))
	if err != nil {
		b.Skip("needs a Go tree: ", err)
	}
	m := map[string][]byte{
		"text": tarOf(b, filepath.Join(goroot, "src"), ".go"),
		"elf":  exe[:min(len(exe), benchSize)],
	}
	if share := tarOf(b, "/usr/share", ""); len(share) > benchSize/2 {
		m["share"] = share
	}
	return m
}

func tarOf(b *testing.B, dir, suffix string) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) > benchSize/8 {
			return nil
		}
		w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(data))})
		w.Write(data)
		if out.Len() > benchSize {
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	w.Close()
	return out.Bytes()
}

func BenchmarkInflate(b *testing.B) {
	libraries := []struct {
		name string
		open func(io.Reader) (io.Reader, error)
	}{
		{"stdlib", func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) }},
		{"klauspost", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"umiak", func(r io.Reader) (io.Reader, error) { return NewReader(r), nil }},
	}
	for name, data := range material(b) {
		for _, level := range []int{1, 6, 9} {
			var packed bytes.Buffer
			w, _ := stdgzip.NewWriterLevel(&packed, level)
			w.Write(data)
			w.Close()
			for _, l := range libraries {
				b.Run(fmt.Sprintf("%s/%d/%s", name, level, l.name), func(b *testing.B) {
					b.SetBytes(int64(len(data)))
					b.ReportAllocs()
					buf := make([]byte, 1<<20)
					for b.Loop() {
						z, err := l.open(bytes.NewReader(packed.Bytes()))
						var n int64
						if err == nil {
							n, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, buf)
						}
						if err != nil || n != int64(len(data)) {
							b.Fatal(n, err)
						}
					}
				})
			}
		}
	}
}
