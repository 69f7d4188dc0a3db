// Package image names container images and describes them, wherever they come
// from.
//
// It promises that an [Image] in hand is consistent: its manifest and config
// are the very bytes that were hashed, the config is the one the manifest names,
// every digest in them is well formed, and there is one diffID for every layer.
// It promises nothing about the layers' content, which whoever reads a layer
// checks against [Layer.Digest] and [Layer.DiffID].
//
// Nothing here touches the network or a file system, and nothing heavy is
// imported, because a warm start parses a reference and a cached manifest too.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/umiak/umiak/cache/digest"
)

// A Layer is one layer of an image.
type Layer struct {
	Digest    digest.Digest // of the bytes as they travel
	DiffID    digest.Digest // of the tar inside them
	Size      int64         // of the bytes as they travel
	MediaType string
}

// An Image is the verified description of one image for one platform.
type Image struct {
	Reference      Reference
	Digest         digest.Digest // of what the reference named: an index or the manifest
	ManifestDigest digest.Digest
	ConfigDigest   digest.Digest
	Platform       Platform
	Manifest       []byte // as received
	Config         []byte // as received
	Layers         []Layer
	Size           int64 // of the layers as they travel, each distinct one counted once
}

// A Source has images: a registry, a layout on disk, a saved tar.
type Source interface {
	// Resolve finds what ref names and descends to the image for p.
	Resolve(ctx context.Context, ref Reference, p Platform) (*Image, error)
	// Open returns the bytes of a layer as they travel, not verified.
	Open(ctx context.Context, ref Reference, l Layer) (io.ReadCloser, error)
}

// Errors that a [Source] wraps.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("access denied")
)

// An UnreachableError says that there was no answer from a registry.
type UnreachableError struct {
	Registry string
	Err      error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("registry %s cannot be reached: %v", e.Registry, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// A RegistryError says that a registry, or what stands in its place, did answer, but
// not so that one could go on. Hint is what may help, on one line, or empty.
type RegistryError struct {
	Registry string
	Err      error
	Hint     string
}

func (e *RegistryError) Error() string { return fmt.Sprintf("registry %s: %v", e.Registry, e.Err) }

func (e *RegistryError) Unwrap() error { return e.Err }

// A PlatformError says that an image exists, but not for the platform wanted.
type PlatformError struct {
	Reference string
	Want      Platform
	Have      []Platform
}

func (e *PlatformError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("image %s is for no platform at all, so not for %s", e.Reference, e.Want)
	}
	var have []string
	for _, p := range e.Have {
		have = append(have, p.String())
	}
	return fmt.Sprintf("image %s is not available for %s, only for %s", e.Reference, e.Want, strings.Join(have, ", "))
}
