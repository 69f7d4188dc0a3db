package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/umiak/umiak/cmd/demo/sample"
)

// launchImage is what is run: the demo's image, with a true that takes no time where we know how to write one.
func launchImage(ctx context.Context) (v1.Image, error) {
	box, err := sample.Binary(ctx)
	if err != nil {
		return nil, err
	}
	img, err := sample.Image(box)
	program := tinyTrue(runtime.GOARCH)
	if err != nil || program == nil {
		return img, err
	}
	layer, err := packLayer(func(w *tar.Writer) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "bin/true", Mode: 0o755, Size: int64(len(program)), ModTime: made()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(program)
		return err
	})
	if err != nil {
		return nil, err
	}
	return appendLayer(img, layer)
}

func made() time.Time { return time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) }

// tinyTrue is a program that exits with status 0: an ELF header, one segment, and exit(0). A Go or C program's own start
// takes as long as all that is measured here, and would hide it.
func tinyTrue(arch string) []byte {
	var machine uint16
	var code []byte
	switch arch {
	case "amd64": // xor edi, edi; mov eax, 60; syscall
		machine, code = 62, []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}
	case "arm64": // mov x0, #0; mov x8, #93; svc #0
		machine, code = 183, []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}
	default:
		return nil
	}
	const headers, base = 64 + 56, 0x400000
	out := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	put := func(values ...any) {
		for _, v := range values {
			out, _ = binary.Append(out, binary.LittleEndian, v)
		}
	}
	size := uint64(headers + len(code))
	// elf(5): an executable; its entry and where the program header is; no sections.
	put(uint16(2), machine, uint32(1), uint64(base+headers), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1),
		uint16(0), uint16(0), uint16(0))
	// One loadable segment, read and execute: the whole file.
	put(uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000))
	return append(out, code...)
}

// packLayer makes a gzip layer of the entries that fill writes.
func packLayer(fill func(*tar.Writer) error) (v1.Layer, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	if err := errors.Join(fill(w), w.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

func appendLayer(img v1.Image, layer v1.Layer) (v1.Image, error) {
	return mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: made()}, CreatedBy: "cmd/bench"}})
}

// unpackImage is what is pulled: layers made up from a plan.
func unpackImage(plans []plan) (v1.Image, error) {
	layers, err := pack(plans)
	if err != nil {
		return nil, err
	}
	img, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		&v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	for _, layer := range layers {
		if err == nil {
			img, err = appendLayer(img, layer)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	return img, nil
}

// fetchImage gets an image from wherever it is.
func fetchImage(ctx context.Context, reference string) (v1.Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", reference, err)
	}
	return img, nil
}
