// Package digest names content by its hash and checks that bytes match it.
//
// A Digest that came out of Parse, FromBytes or a decoded document is safe as a
// file name and as a part of a URL: one known algorithm, a colon, and exactly
// as many lower-case hexadecimal digits as that algorithm yields, nothing else.
// Digests that were pasted into paths and requests unread are CVE-2024-3727.
package digest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ErrMismatch says that content isn't what its digest or its size promised.
var ErrMismatch = errors.New("content does not match")

// Digest is "sha256:" or "sha512:" and the hash in lower-case hexadecimal.
// The zero value means that there is none.
type Digest string

// Parse accepts only the two registered algorithms of the OCI image
// specification in their canonical form.
func Parse(s string) (Digest, error) {
	algorithm, hex, found := strings.Cut(s, ":")
	if !found {
		return "", fmt.Errorf("parsing digest %q: want algorithm:hex", s)
	}
	digits := 0
	switch algorithm {
	case "sha256":
		digits = 2 * sha256.Size
	case "sha512":
		digits = 2 * sha512.Size
	default:
		return "", fmt.Errorf("parsing digest %q: unknown algorithm %q, want sha256 or sha512", s, algorithm)
	}
	if len(hex) != digits {
		return "", fmt.Errorf("parsing digest %q: %d characters after the colon, want %d", s, len(hex), digits)
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("parsing digest %q: %q is not a lower-case hexadecimal digit", s, c)
		}
	}
	return Digest(s), nil
}

// FromBytes is the sha256 digest of b.
func FromBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm is what stands before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex is what stands after the colon.
func (d Digest) Hex() string {
	_, hex, _ := strings.Cut(string(d), ":")
	return hex
}

func (d Digest) String() string { return string(d) }

// Short is enough of the hash for people to tell images apart.
func (d Digest) Short() string {
	hex := d.Hex()
	return hex[:min(12, len(hex))]
}

// UnmarshalText makes every decoded document as strict as Parse, so that no
// field of a manifest reaches a path unread. Empty text is no digest.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = ""
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// NewReader passes on what r delivers and turns its io.EOF into an error that
// wraps ErrMismatch when the bytes weren't those of want, or not size of them;
// so nobody who reads to the end can forget to check. Never more than size
// bytes get through: a server can't fill the disk with what was never
// announced. A negative size is unknown, an empty want is not checked.
func NewReader(r io.Reader, want Digest, size int64) io.Reader {
	v := &verifier{r: r, want: want, size: size}
	if want == "" {
		return v
	}
	// A Digest may also be made by conversion; what can't be checked must not
	// pass for checked.
	if _, err := Parse(string(want)); err != nil {
		v.err = err
		return v
	}
	if want.Algorithm() == "sha512" {
		v.hash = sha512.New()
	} else {
		v.hash = sha256.New()
	}
	return v
}

type verifier struct {
	r       io.Reader
	hash    hash.Hash
	want    Digest
	size, n int64
	err     error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	// One byte more than is due shows whether there are more.
	left := v.size - v.n
	if v.size >= 0 && int64(len(p))-1 > left {
		p = p[:left+1]
	}
	n, err := v.r.Read(p)
	if v.size >= 0 && int64(n) > left {
		n = int(left)
		err = fmt.Errorf("%w: %s is longer than the announced %d bytes", ErrMismatch, v.name(), v.size)
	}
	v.n += int64(n)
	if v.hash != nil {
		v.hash.Write(p[:n])
	}
	if err == io.EOF {
		err = v.check()
	}
	v.err = err
	return n, err
}

// check says what an end of file at this point means.
func (v *verifier) check() error {
	if v.size >= 0 && v.n != v.size {
		return fmt.Errorf("%w: %s ended after %d of %d bytes", ErrMismatch, v.name(), v.n, v.size)
	}
	if v.hash == nil {
		return io.EOF
	}
	if got := Digest(v.want.Algorithm() + ":" + hex.EncodeToString(v.hash.Sum(nil))); got != v.want {
		return fmt.Errorf("%w: want %s, got %s", ErrMismatch, v.want, got)
	}
	return io.EOF
}

func (v *verifier) name() string {
	if v.want == "" {
		return "it"
	}
	return v.want.String()
}
