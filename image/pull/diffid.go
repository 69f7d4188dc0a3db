package pull

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/umiak/umiak/cache/digest"
)

// A diffID is written the tar of a layer, and closed without an error only if it is
// the one that the image's config promises.
type diffID struct {
	hash.Hash
	want  digest.Digest
	meter *Meter
}

func newDiffID(want digest.Digest, m *Meter) *diffID {
	if want.Algorithm() == "sha512" {
		return &diffID{sha512.New(), want, m}
	}
	return &diffID{sha256.New(), want, m}
}

func (d *diffID) Close() error {
	got := digest.Digest(d.want.Algorithm() + ":" + hex.EncodeToString(d.Sum(nil)))
	if got != d.want {
		return fmt.Errorf("what is in it is not what the image's config says: %w: want %s, got %s", digest.ErrMismatch, d.want, got)
	}
	d.meter.layerDone()
	return nil
}
