package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/umiak/umiak/cache"
	"github.com/umiak/umiak/cache/digest"
	"github.com/umiak/umiak/image"
)

// recordVersion is raised when an older umiak would misread what this one writes.
const recordVersion = 1

// A record is what a reference in the cache stands for: everything that is known
// about an image, as it was received, so that nothing is asked for again.
type record struct {
	Version   int           `json:"version"`
	Reference string        `json:"reference"`
	Platform  string        `json:"platform"` // as asked for
	Digest    digest.Digest `json:"digest"`
	Manifest  []byte        `json:"manifest"`
	Config    []byte        `json:"config"`
	Pulled    time.Time     `json:"pulled"`

	img *image.Image
}

// key is the cache's name for what ref is on a platform. A digest says all; a tag
// beside it is decoration.
func key(ref image.Reference, p image.Platform) string {
	if ref.Digest != "" {
		ref.Tag = ""
	}
	return ref.String() + " " + p.String()
}

func store(c *cache.Cache, p image.Platform, img *image.Image, now time.Time) error {
	data, err := json.Marshal(record{
		Version: recordVersion, Reference: img.Reference.String(), Platform: p.String(), Digest: img.Digest,
		Manifest: img.Manifest, Config: img.Config, Pulled: now.UTC().Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	return c.SetRef(key(img.Reference, p), data)
}

// moved tells whether the name of img stands for another image in the cache.
func moved(c *cache.Cache, p image.Platform, img *image.Image) bool {
	data, err := c.Ref(key(img.Reference, p))
	if err != nil {
		return false
	}
	old, err := parseRecord(data)
	return err != nil || old.img.ManifestDigest != img.ManifestDigest
}

// load finds the record of ref. The error wraps cache.ErrMissing if there is none
// that this version can use.
func load(c *cache.Cache, ref image.Reference, p image.Platform) (*record, error) {
	data, err := c.Ref(key(ref, p))
	if err == nil {
		return parseRecord(data)
	}
	if ref.Digest == "" || !errors.Is(err, cache.ErrMissing) {
		return nil, err
	}
	// The digest may have been pulled by a tag: it is the same image.
	recs, other := records(c)
	if other != nil {
		return nil, err
	}
	for _, r := range recs {
		if r.is(ref.Digest) && r.Platform == p.String() {
			r.img.Reference = ref
			return r, nil
		}
	}
	return nil, err
}

func (r *record) is(d digest.Digest) bool { return r.Digest == d || r.img.ManifestDigest == d }

func parseRecord(data []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%w: reading a reference: %w", cache.ErrMissing, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%w: a reference of version %d, not %d", cache.ErrMissing, r.Version, recordVersion)
	}
	ref, err := image.Parse(r.Reference)
	if err == nil {
		r.img, err = image.New(ref, r.Manifest, r.Config)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cache.ErrMissing, err)
	}
	r.img.Digest = r.Digest
	return &r, nil
}

// records reads all of them; the error is about the first that can't be.
func records(c *cache.Cache) ([]*record, error) {
	refs, err := c.Refs()
	if err != nil {
		return nil, err
	}
	var list []*record
	for _, ref := range refs {
		r, e := parseRecord(ref.Data)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("reference %q: %w", ref.Name, e))
			continue
		}
		list = append(list, r)
	}
	return list, err
}

// An Entry is an image in the cache.
type Entry struct {
	Reference      image.Reference
	Platform       image.Platform
	Digest         digest.Digest // of what the reference named
	ManifestDigest digest.Digest
	Size           int64 // of the layers as they travelled
	Created        time.Time
	Pulled         time.Time
}

// List lists the images in the cache by reference. What another version of umiak
// keeps there is left out.
func List(c *cache.Cache) ([]Entry, error) {
	recs, err := records(c)
	if err != nil && !errors.Is(err, cache.ErrMissing) {
		return nil, err
	}
	var list []Entry
	for _, r := range recs {
		created, _ := time.Parse(time.RFC3339, r.img.Created()) // zero if it does not say
		list = append(list, Entry{
			Reference: r.img.Reference, Platform: r.img.Platform, Digest: r.Digest, ManifestDigest: r.img.ManifestDigest,
			Size: r.img.Size, Created: created, Pulled: r.Pulled,
		})
	}
	return list, nil
}

// Remove forgets what ref names on platform p, or on every platform if p is the
// zero value, and frees what nothing else needs. A digest names an image however
// it was pulled. The error wraps ErrNotCached if there is nothing to forget, and
// cache.ErrBusy if the image is forgotten but nothing could be freed for now.
//
// What an interrupted pull has left is freed by any of them, also by one that finds
// nothing to forget.
func Remove(ctx context.Context, c *cache.Cache, ref image.Reference, p image.Platform) (freed int64, err error) {
	return remove(ctx, c, ref.Familiar(), p, func(r *record) bool { return r.named(ref) })
}

// RemoveDigest is Remove for all references to the image with digest d, or to the
// index with that digest, in whatever repository.
func RemoveDigest(ctx context.Context, c *cache.Cache, d digest.Digest, p image.Platform) (freed int64, err error) {
	return remove(ctx, c, d.String(), p, func(r *record) bool { return r.is(d) })
}

func remove(ctx context.Context, c *cache.Cache, what string, p image.Platform, meant func(*record) bool) (freed int64, err error) {
	recs, err := records(c)
	if err != nil && !errors.Is(err, cache.ErrMissing) {
		return 0, err
	}
	found := false
	for _, r := range recs {
		if !meant(r) || p != (image.Platform{}) && r.img.Platform != p && r.Platform != p.String() {
			continue
		}
		asked, err := image.ParsePlatform(r.Platform)
		if err == nil {
			err = c.DeleteRef(key(r.img.Reference, asked))
		}
		if err != nil && !errors.Is(err, cache.ErrMissing) {
			return 0, err
		}
		found = true
	}
	freed, err = Collect(ctx, c)
	if !found {
		// Whether anything else could be freed was not the question.
		return freed, fmt.Errorf("image %s is %w", what, ErrNotCached)
	}
	return freed, err
}

func (r *record) named(ref image.Reference) bool {
	mine := r.img.Reference
	if mine.Registry != ref.Registry || mine.Repository != ref.Repository {
		return false
	}
	if ref.Digest != "" {
		return r.is(ref.Digest)
	}
	return mine.Digest == "" && mine.Tag == ref.Tag
}

// Collect frees what no reference needs, but no root that is in use. It frees
// nothing if there is a reference that it can't read: it could be a newer umiak's.
func Collect(ctx context.Context, c *cache.Cache) (freed int64, err error) {
	return c.Collect(ctx, func() (cache.Live, error) {
		live := cache.Live{Blobs: make(map[digest.Digest]bool), Roots: make(map[string]bool)}
		recs, err := records(c)
		if err != nil {
			return live, err
		}
		for _, r := range recs {
			live.Roots[rootID(r.img)] = true
			for _, l := range r.img.Layers {
				live.Blobs[l.Digest] = true
			}
		}
		return live, nil
	})
}
