package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// fill pulls the sample image into a cache and prints its name: for tests where no registry can
// be, such as in a virtual machine without a network.
func (d *demo) fill(ctx context.Context, cache string) error {
	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	name := d.addr + "/demo"
	if cache, err = filepath.Abs(cache); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, d.umiak, "--root", cache, "pull", "-q", name)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("filling %s: %w", cache, err)
	}
	_, err = fmt.Fprintln(d.stdout, name)
	return err
}
