package main

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
)

// floorSource is a launcher of the fewest system calls that do; see there.
//
//go:embed floor/floor.c
var floorSource []byte

// floor compiles and prepares the floor.
func (l *launcher) floor(ctx context.Context) *row {
	const name = "C floor"
	cc, err := program("cc")
	if err != nil {
		return leftOut(name, "cc is not installed")
	}
	source, binary := l.ws.path("floor.c"), l.ws.path("floor")
	if err := os.WriteFile(source, floorSource, 0o600); err != nil {
		return leftOut(name, err.Error())
	}
	err = l.ws.tool(ctx, cc, "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-o", binary, source)
	if err != nil {
		return leftOut(name, "does not compile: "+err.Error())
	}
	state := filepath.Join(l.disk.dir, "floor")
	if err := os.Mkdir(state, 0o700); err != nil {
		return leftOut(name, err.Error())
	}
	argv := []string{binary, l.rootfs, state, l.program}
	return &row{name: name, what: "overlay, /proc, /dev, pivot_root; 4 namespaces", next: always(command{argv: argv, env: environment()})}
}
