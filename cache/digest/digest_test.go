package digest

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	hex64  = strings.Repeat("0123456789abcdef", 4)
	hex128 = hex64 + hex64
)

func TestParse(t *testing.T) {
	for _, s := range []string{"sha256:" + hex64, "sha512:" + hex128} {
		d, err := Parse(s)
		if err != nil || d.String() != s {
			t.Errorf("Parse(%q) = %q, %v", s, d, err)
		}
		if d.Algorithm()+":"+d.Hex() != s {
			t.Errorf("%q falls apart into %q and %q", s, d.Algorithm(), d.Hex())
		}
		if d.Short() != "0123456789ab" {
			t.Errorf("Short() = %q", d.Short())
		}
	}
	for _, s := range []string{
		"",
		hex64,
		"sha256",
		"sha256:",
		"sha256:" + hex64[1:],
		"sha256:" + hex64 + "0",
		"sha256:" + strings.ToUpper(hex64),
		"SHA256:" + hex64,
		"sha256:" + hex64[1:] + "g",
		"sha256:" + hex64[1:] + "\n",
		"sha256:" + hex64[3:] + "/..",
		"sha256:../../../../etc/passwd",
		"sha256::" + hex64[1:],
		" sha256:" + hex64,
		"sha512:" + hex64,
		"sha256:" + hex128,
		"sha384:" + hex64,
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"../sha256:" + hex64,
	} {
		if d, err := Parse(s); err == nil || d != "" {
			t.Errorf("Parse(%q) = %q, %v; want an error", s, d, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sha256:" + hex64)
	f.Add("sha512:" + hex128)
	f.Add("sha256:../x")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			return
		}
		if d.String() != s || strings.Trim(d.Hex(), "0123456789abcdef") != "" {
			t.Fatalf("Parse(%q) accepts %q", s, d)
		}
	})
}

func TestZeroValue(t *testing.T) {
	var d Digest
	if d.Algorithm()+d.Hex()+d.Short()+d.String() != "" {
		t.Error("the zero value has parts")
	}
}

func TestFromBytes(t *testing.T) {
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := FromBytes(nil); got != empty {
		t.Errorf("FromBytes(nil) = %s", got)
	}
}

func TestUnmarshal(t *testing.T) {
	var doc struct{ Digest Digest }
	good := `{"Digest":"sha256:` + hex64 + `"}`
	if err := json.Unmarshal([]byte(good), &doc); err != nil || doc.Digest.Hex() != hex64 {
		t.Errorf("%s: %v, %v", good, doc, err)
	}
	if out, err := json.Marshal(doc); err != nil || string(out) != good {
		t.Errorf("encoded as %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Digest":""}`), &doc); err != nil || doc.Digest != "" {
		t.Errorf("an empty one: %q, %v", doc.Digest, err)
	}
	if err := json.Unmarshal([]byte(`{"Digest":"sha256:../../x"}`), &doc); err == nil {
		t.Errorf("a path was decoded as %q", doc.Digest)
	}
}

func TestReader(t *testing.T) {
	const text = "what an image layer might be"
	want := FromBytes([]byte(text))
	sum := sha512.Sum512([]byte(text))
	want512 := Digest("sha512:" + hex.EncodeToString(sum[:]))
	other := FromBytes([]byte("something else"))
	size := int64(len(text))

	for _, tt := range []struct {
		name string
		text string
		want Digest
		size int64
		ok   bool
		says string
	}{
		{"right", text, want, size, true, ""},
		{"right, size unknown", text, want, -1, true, ""},
		{"right by sha512", text, want512, size, true, ""},
		{"no digest", text, "", size, true, ""},
		{"nothing known", text, "", -1, true, ""},
		{"empty", "", FromBytes(nil), 0, true, ""},
		{"huge size, right digest", text, want, math.MaxInt64, false, "ended after 28 of"},
		{"other bytes", text, other, size, false, "want " + other.String() + ", got " + want.String()},
		{"other bytes by sha512", text, Digest("sha512:" + hex128), size, false, "got " + want512.String()},
		{"cut", text[:10], want, size, false, "ended after 10 of 28 bytes"},
		{"cut, size unknown", text[:10], want, -1, false, "want " + want.String()},
		{"longer", text + "!", want, size, false, "longer than the announced 28 bytes"},
		{"longer, no digest", text + "!", "", size, false, "longer than the announced 28 bytes"},
		{"longer than nothing", text, FromBytes(nil), 0, false, "longer than the announced 0 bytes"},
	} {
		for shape, wrap := range map[string]func(io.Reader) io.Reader{
			"plain":        func(r io.Reader) io.Reader { return r },
			"byte by byte": iotest.OneByteReader,
			"data and EOF": iotest.DataErrReader,
		} {
			t.Run(tt.name+"/"+shape, func(t *testing.T) {
				r := NewReader(wrap(strings.NewReader(tt.text)), tt.want, tt.size)
				got, err := readAll(r)
				if tt.size >= 0 && int64(len(got)) > tt.size {
					t.Errorf("%d bytes got through, %d were announced", len(got), tt.size)
				}
				if !strings.HasPrefix(tt.text, string(got)) {
					t.Errorf("delivers %q of %q", got, tt.text)
				}
				if tt.ok {
					if err != nil || string(got) != tt.text {
						t.Errorf("got %q, %v", got, err)
					}
					return
				}
				if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %v, want ErrMismatch that says %q", err, tt.says)
				}
				if _, again := r.Read(make([]byte, 1)); !errors.Is(again, ErrMismatch) {
					t.Errorf("the next read gives %v: an error must stay", again)
				}
			})
		}
	}
}

// readAll reads no more than any test has.
func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, 1<<20)) }

// An error of the source is not a mismatch, and must not become an end of file.
func TestReaderPassesErrors(t *testing.T) {
	broken := errors.New("connection reset")
	r := NewReader(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), FromBytes([]byte("abc")), 3)
	if _, err := readAll(r); !errors.Is(err, broken) || errors.Is(err, ErrMismatch) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestReaderRefusesWhatItCannotCheck(t *testing.T) {
	for _, d := range []Digest{"md5:00", "sha256:", "nonsense"} {
		if _, err := readAll(NewReader(strings.NewReader("abc"), d, -1)); err == nil {
			t.Errorf("content passed for %q", d)
		}
	}
}
