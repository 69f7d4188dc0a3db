package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// disk is a block device to read from: a loop device over 4 MiB of our own, or
// what is there already.
func disk(t *testing.T) (name string, major, minor int64) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: block devices are root's")
	}
	names, _ := filepath.Glob("/sys/block/*/size")
	for i, s := range names {
		names[i] = "/dev/" + filepath.Base(filepath.Dir(s))
	}
	for _, name := range append(loop(t), names...) {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		size, _ := f.Seek(0, 2)
		err = unix.Fstat(int(f.Fd()), &st)
		f.Close()
		if err == nil && size >= 4<<20 && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return name, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		}
	}
	t.Skip("needs a block device that can be read")
	return "", 0, 0
}

// loop attaches a loop device that goes when the test ends, if it can.
func loop(t *testing.T) []string {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer ctl.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(4 << 20); err != nil {
		t.Fatal(err)
	}
	for range 10 { // another may take the free one before us
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil
		}
		name := "/dev/loop" + strconv.Itoa(n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil
		}
		c := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if unix.IoctlLoopConfigure(int(dev.Fd()), &c) == nil {
			t.Cleanup(func() { dev.Close() }) // the last close detaches it
			return []string{name}
		}
		dev.Close()
	}
	return nil
}

func TestDeviceRates(t *testing.T) {
	name, major, minor := disk(t)
	g := group(t, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   rate(major, minor, 2<<20),
		ThrottleWriteBpsDevice:  rate(major, minor, 3<<20),
		ThrottleReadIOPSDevice:  rate(major, minor, 10000),
		ThrottleWriteIOPSDevice: rate(major, minor, 11000),
	}})
	dev := fmt.Sprintf("%d:%d ", major, minor)
	want := dev + "rbps=2097152 wbps=3145728 riops=10000 wiops=11000"
	got := control(g, "io.max")
	if got == "" {
		want = dev + "2097152 " + dev + "3145728"
		got = control(g, "blkio.throttle.read_bps_device") + " " + control(g, "blkio.throttle.write_bps_device")
	}
	if got != want {
		t.Errorf("the kernel holds %q, want %q", got, want)
	}
	// 2 MiB at 2 MiB/s; the kernel lets a tenth of a second's worth pass at once.
	cmd := exec.Command("/bin/dd", "if="+name, "of=/dev/null", "bs=256k", "count=8", "iflag=direct")
	var said bytes.Buffer
	cmd.Stderr = &said
	start := time.Now()
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	if took := time.Since(start); took < 600*time.Millisecond {
		t.Errorf("2 MiB at 2 MiB/s took %v", took)
	}
}

func TestIOWeight(t *testing.T) {
	g := group(t, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(500))}})
	got := control(g, "blkio.weight") + control(g, "blkio.bfq.weight") + control(g, "io.bfq.weight") + control(g, "io.weight")
	if !strings.Contains(got, "500") && !strings.Contains(got, "4950") {
		t.Errorf("the kernel holds %q", got)
	}
}
