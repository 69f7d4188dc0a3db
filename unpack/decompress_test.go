package unpack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestDecompress(t *testing.T) {
	big := make([]byte, 1<<20)
	rand.Read(big)
	small := []byte("small")
	archive := tarOf(t, []entry{{typ: "file", name: "BZh91AY&SY"}})
	skippable := []byte("\x5a\x2a\x4d\x18\x04\x00\x00\x00skip")
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	cases := []struct {
		name string
		in   []byte
		want []byte
		err  string
	}{
		{"plain", big, big, ""},
		{"empty", nil, nil, ""},
		{"tar whose first file is called like bzip2", archive, archive, ""},
		{"gzip", gz(t, big), big, ""},
		{"gzip members", join(gz(t, small), gz(t, nil), gz(t, big)), join(small, big), ""},
		{"gzip of nothing", gz(t, nil), nil, ""},
		{"gzip and zeros", join(gz(t, small), make([]byte, 1000)), small, ""},
		{"gzip and one zero", join(gz(t, small), make([]byte, 1)), small, ""},
		{"gzip and garbage", join(gz(t, small), []byte("garbage")), nil, "data after the end"},
		{"gzip, zeros and garbage", join(gz(t, small), make([]byte, 10), gz(t, small)), nil, "data after the end"},
		{"gzip cut", cut(gz(t, big), 100), nil, "unexpected EOF"},
		{"gzip cut in the trailer", cut(gz(t, small), 1), nil, "unexpected EOF"},
		{"gzip cut in the second header", join(gz(t, small), gz(t, small)[:5]), nil, "unexpected EOF"},
		{"gzip header only", []byte("\x1f\x8b\x08"), nil, "unexpected EOF"},
		{"zstd", zst(t, big), big, ""},
		{"zstd frames", join(zst(t, small), skippable, zst(t, big), skippable), join(small, big), ""},
		{"zstd after a skippable frame", join(skippable, zst(t, small)), small, ""},
		{"zstd cut", cut(zst(t, big), 100), nil, "unexpected EOF"},
		{"zstd and garbage", join(zst(t, small), []byte("garbage")), nil, "magic"},
		// Frame header: no checksum, window of 2 GiB, then an empty last block.
		{"zstd that wants too much memory", []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), nil, "window"},
		{"xz", []byte("\xfd7zXZ\x00\x00"), nil, "compressed with xz"},
		{"bzip2", []byte("BZh91AY&SY\x00"), nil, "compressed with bzip2"},
		{"lz4", []byte("\x04\x22\x4d\x18"), nil, "compressed with lz4"},
	}
	for _, c := range cases {
		for _, library := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, " ", library), func(t *testing.T) {
				for _, r := range []io.Reader{bytes.NewReader(c.in), iotest.HalfReader(bytes.NewReader(c.in)), iotest.DataErrReader(bytes.NewReader(c.in))} {
					var got []byte
					z, err := newDecoder(r, library)
					if err == nil {
						got, err = io.ReadAll(z)
						z.close()
					}
					if c.err == "" && (err != nil || !bytes.Equal(got, c.want)) {
						t.Errorf("%d bytes of %d, %v", len(got), len(c.want), err)
					}
					if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
						t.Errorf("error %v, want one with %q", err, c.err)
					}
				}
			})
		}
	}
}

// The reader's own error comes out, not one about the format it garbled.
func TestDecompressReadError(t *testing.T) {
	broken := errors.New("network went away")
	for name, data := range map[string][]byte{"plain": make([]byte, 1000), "gzip": gz(t, make([]byte, 1<<20)), "zstd": zst(t, make([]byte, 1<<20))} {
		for _, keep := range []int{0, 3, len(data) / 2, len(data) - 1, len(data)} {
			for _, library := range []bool{false, true} {
				z, err := newDecoder(io.MultiReader(bytes.NewReader(data[:keep]), iotest.ErrReader(broken)), library)
				if err == nil {
					_, err = io.Copy(io.Discard, z)
				}
				if !errors.Is(err, broken) {
					t.Errorf("%s after %d bytes: %v", name, keep, err)
				}
			}
		}
	}
}
