// Command demo shows umiak at work on a machine that has nothing but Go and Linux: a registry on loopback that holds an
// image of our own, the image pulled and run, and run again with the registry gone.
//
// It is a test too: what every step must return and print is written down (steps.go), and the demo ends with status 1
// and the name of the first step where reality differs. It leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/umiak/umiak/cmd/demo/sample"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := demo{root: os.Geteuid() == 0, stdout: os.Stdout, stderr: os.Stderr}
	flag.StringVar(&d.umiak, "umiak", "bin/umiak", "the umiak to show")
	flag.BoolVar(&d.keep, "keep", false, "keep the directory of the demo (what was pulled, and box)")
	fill := flag.String("fill", "", "only pull the demo's image into the cache `DIR`, and print its name")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	err := error(nil)
	if *fill != "" {
		err = d.fill(ctx, *fill)
	} else {
		err = d.run(ctx)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	umiak          string // the binary
	keep           bool
	root           bool // runs as root
	stdout, stderr *os.File
	box            []byte // instead of a build of cmd/box

	dir, addr, digest string
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.umiak, err = filepath.Abs(d.umiak); err != nil {
		return err
	}
	if _, err := os.Stat(d.umiak); err != nil {
		return fmt.Errorf("%w\ndemo: hint: `make demo` builds umiak first; elsewhere say --umiak FILE", err)
	}
	if d.dir, err = os.MkdirTemp("", "umiak-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.clean()) }()

	d.say("Building cmd/box, a shell and its commands in one static file, and packing it as an image of two layers.")
	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	d.say("A registry on loopback, %s, now holds it as `demo`. All that umiak keeps goes to a directory of the demo.", d.addr)
	fmt.Fprintf(d.stdout, "$ export UMIAK_ROOT=%s\n", d.store())
	if !d.root {
		d.say("You are not root, and umiak needs root for now: to give an image's files their owners, and a container " +
			"its namespaces, mounts and limits. What it would do is left out below. To see it: sudo make demo.")
	}
	left := 0
	for _, s := range steps(d.addr+"/demo", d.digest) {
		if s.offline { // from here on nobody answers
			stop()
		}
		if s.plain && d.root {
			continue
		}
		if !s.plain && !d.root {
			left++
			d.say("%s\n  $ %s\n  Left out: this needs root.", s.say, commandLine(s.args))
			continue
		}
		if err := d.step(ctx, s); err != nil {
			return fmt.Errorf("step %q: %w", s.name, err)
		}
	}
	if left > 0 {
		d.say("Every step shown did what it should; %d were left out for want of root.", left)
	} else {
		d.say("Every step did what it should.")
	}
	return nil
}

// serve builds the image and the registry.
func (d *demo) serve(ctx context.Context) (stop func(), err error) {
	if d.box == nil {
		if d.box, err = sample.Binary(ctx); err != nil {
			return nil, err
		}
	}
	image, err := sample.Image(d.box)
	if err != nil {
		return nil, err
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	d.digest = digest.String()
	d.addr, stop, err = sample.Serve(map[string]v1.Image{"demo": image})
	return stop, err
}

func (d *demo) store() string { return filepath.Join(d.dir, "store") }

// say writes a sentence of explanation, set apart from what the commands print.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.stdout, "\n# "+format+"\n", args...)
}

// clean takes everything away, and says so if a run has left a mount behind, since that is a mistake of umiak's.
func (d *demo) clean() error {
	if d.keep {
		d.say("Kept: %s", d.dir)
		return nil
	}
	left, err := mountsBelow(d.dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("mounts are left behind, and so is their directory: %q", left)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(d.dir)
}

// step shows one command and compares what it did with what it should have done.
func (d *demo) step(ctx context.Context, s step) error {
	d.say("%s", s.say)
	fmt.Fprintf(d.stdout, "$ %s\n", commandLine(s.args))
	got, err := d.execute(ctx, s.args)
	if err != nil {
		return err
	}
	if got.status != 0 || s.status != 0 {
		fmt.Fprintf(d.stdout, "# exit status %d\n", got.status)
	}
	return s.check(got)
}
