// Command bench compares umiak with what the same job takes without it, in one run on one machine: a warm run of `true`
// beside a launcher of the fewest system calls that do, beside unshare(1) and chroot(1), and beside whatever runtimes are
// installed; and a pull into an empty cache beside tar(1) over the same layers.
//
// It prints ratios, with the times that they come from. Times of different machines, or of different runs on a busy one,
// say little; ratios of interleaved measurements say something. It judges nothing: it ends with status 0 when umiak was
// measured.
//
// It needs nobody: images are made here and served on loopback. All it writes is in a directory in memory and on file
// systems made for it, gone at the end.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// options are the flags.
type options struct {
	umiak    string
	image    string
	dir      string
	runs     int
	unpacks  int
	quick    bool
	markdown bool
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == fetchVerb {
		os.Exit(fetchAndUnpack(os.Args[2], os.Args[3:]))
	}
	o := parse()
	root, status, done := apart()
	if done {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := measure(ctx, o, root, os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.umiak, "umiak", "bin/umiak", "the umiak to measure")
	flag.StringVar(&o.image, "image", "", "measure with the image `REF` (fetched once) instead of those made here; it must have a true")
	flag.StringVar(&o.dir, "dir", "", "make the workspace in `DIR` (default: /dev/shm if it has room, or TMPDIR)")
	flag.IntVar(&o.runs, "runs", 200, "counted runs of each launcher")
	flag.IntVar(&o.unpacks, "unpacks", 5, "counted runs of each unpacker")
	flag.BoolVar(&o.quick, "quick", false, "5 runs, 2 unpacks, a small image: does it work at all")
	flag.BoolVar(&o.markdown, "markdown", false, "print tables in Markdown")
	flag.Parse()
	if o.quick {
		o.runs, o.unpacks = 5, 2
	}
	if flag.NArg() > 0 || o.runs < 1 || o.unpacks < 1 {
		flag.Usage()
		os.Exit(2)
	}
	return o
}

// bench is one benchmark run.
type bench struct {
	options
	root     bool // may mount and make namespaces
	ws       *workspace
	out, log io.Writer
	ratios   []pair
}

func measure(ctx context.Context, o options, root bool, out, log io.Writer) (err error) {
	b := &bench{options: o, root: root, out: out, log: log}
	if b.umiak, err = program(o.umiak); err != nil {
		return fmt.Errorf("%w\nbench: hint: `make bench` builds umiak first; elsewhere say --umiak FILE", err)
	}
	if b.ws, err = newWorkspace(o.dir, root); err != nil {
		return err
	}
	defer func() {
		if closeErr := b.ws.close(); err == nil {
			err = closeErr
		}
	}()
	b.describe()
	for _, part := range []func(context.Context) error{b.launch, b.unpack} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.conclude()
	return nil
}

func (b *bench) note(format string, args ...any) { fmt.Fprintf(b.log, "bench: "+format+"\n", args...) }
