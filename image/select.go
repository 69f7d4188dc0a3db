package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/umiak/umiak/cache/digest"
)

// maxDepth bounds lists within lists, maxGuesses how many entries that do not say
// what they are for are looked into.
const (
	maxDepth   = 3
	maxGuesses = 8
)

// A Fetcher gets documents by descriptor. It need not verify them.
type Fetcher interface {
	Manifest(ctx context.Context, d Descriptor) ([]byte, error)
	Blob(ctx context.Context, d Descriptor) ([]byte, error)
}

// Select descends from top, the document that ref named, to the image for p, and
// verifies every step. mediaType is what came with the document, if anything.
func Select(ctx context.Context, ref Reference, top []byte, mediaType string, p Platform, f Fetcher) (*Image, error) {
	self := digest.FromBytes(top)
	if ref.Digest != "" {
		d := Descriptor{Digest: ref.Digest, Size: -1}
		if err := d.Verify(top); err != nil {
			return nil, badManifest(ref, err)
		}
		self = ref.Digest
	}
	s := selection{ref: ref, want: p.normal(), fetch: f}
	img, err := s.descend(ctx, top, mediaType, 0)
	if err != nil {
		return nil, err
	}
	img.Digest = self
	return img, nil
}

type selection struct {
	ref     Reference
	want    Platform
	fetch   Fetcher
	guesses int
	vouched bool // an index said what the image is for; some configs say it wrong
}

// badManifest blames what was received, as opposed to not receiving it.
func badManifest(ref Reference, err error) error {
	return fmt.Errorf("reading the manifest of %s: %w", ref.Familiar(), err)
}

func (s *selection) descend(ctx context.Context, doc []byte, mediaType string, depth int) (*Image, error) {
	d, err := parseDocument(doc, mediaType)
	if err != nil {
		return nil, badManifest(s.ref, err)
	}
	if !d.isIndex() {
		return s.image(ctx, doc, mediaType)
	}
	if depth == maxDepth {
		return nil, badManifest(s.ref, fmt.Errorf("it is a list of lists, more than %d deep", maxDepth))
	}
	chosen, guess, have := s.choose(d.Manifests)
	if chosen != nil {
		s.vouched = true
		return s.follow(ctx, *chosen, depth)
	}
	// Entries without a platform can only be judged by their own content.
	for _, g := range guess {
		if s.guesses++; s.guesses > maxGuesses {
			break
		}
		img, err := s.follow(ctx, g, depth)
		wrong, ok := errors.AsType[*PlatformError](err)
		if !ok {
			return img, err
		}
		have = append(have, wrong.Have...)
	}
	return nil, s.wrongPlatform(have)
}

// choose sorts the entries of an index: the best match, those that do not say
// what they are, and the platforms there are.
func (s *selection) choose(entries []Descriptor) (best *Descriptor, guess []Descriptor, have []Platform) {
	at := -1
	for i, e := range entries {
		if e.Platform == nil {
			guess = append(guess, e)
			continue
		}
		p := e.Platform.platform()
		// BuildKit hides attestations among the images as unknown/unknown.
		if p.OS == "unknown" || e.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		have = append(have, p)
		if r := rank(s.want, p); r >= 0 && (at < 0 || r < at) {
			at, best = r, &entries[i]
		}
	}
	return best, guess, have
}

func (s *selection) follow(ctx context.Context, d Descriptor, depth int) (*Image, error) {
	if err := d.check(); err != nil {
		return nil, badManifest(s.ref, err)
	}
	if d.Size > MaxDocument {
		return nil, badManifest(s.ref, fmt.Errorf("its part %s is larger than %d bytes", d.Digest.Short(), MaxDocument))
	}
	b, err := s.fetch.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := d.Verify(b); err != nil {
		return nil, badManifest(s.ref, err)
	}
	return s.descend(ctx, b, d.MediaType, depth+1)
}

func (s *selection) image(ctx context.Context, manifest []byte, mediaType string) (*Image, error) {
	m, err := parseManifest(manifest, mediaType)
	if err != nil {
		return nil, badManifest(s.ref, err)
	}
	config, err := s.fetch.Blob(ctx, *m.Config)
	if err != nil {
		return nil, err
	}
	img, err := build(s.ref, manifest, config, mediaType)
	if err != nil {
		return nil, badManifest(s.ref, err)
	}
	if !s.vouched && rank(s.want, img.Platform) < 0 {
		return nil, s.wrongPlatform([]Platform{img.Platform})
	}
	return img, nil
}

func (s *selection) wrongPlatform(have []Platform) error {
	var distinct []Platform
	for _, p := range have {
		if !slices.Contains(distinct, p) {
			distinct = append(distinct, p)
		}
	}
	return &PlatformError{Reference: s.ref.Familiar(), Want: s.want, Have: distinct}
}
