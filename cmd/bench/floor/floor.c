/*
 * floor: the least that starting a program in a container of its own can cost.
 *
 *     floor LOWER STATE PROGRAM [ARG...]
 *
 * It makes the system calls that cannot be left out, one after the other, and nothing else: a child
 * in new mount, pid, uts and ipc namespaces, born with vfork's borrowed memory; an overlay over
 * LOWER whose upper layer is thrown away; /proc, /dev with its nodes, /dev/pts; pivot_root, a host
 * name, exec. STATE is a directory on the file system that LOWER is on; it is left as it was.
 *
 * There is no libc: a static glibc spends a third of a millisecond on itself before main where
 * CPUID traps to a hypervisor. There are no capabilities, seccomp, cgroups, masks or messages
 * either: what those cost is the difference between this and a tool. A call that fails ends the
 * program with a status of its own, 100 and up.
 *
 * Build: cc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -o floor floor.c
 */
#include <asm/unistd.h>
#include <linux/sched.h>

enum { AT_FDCWD = -100, AT_REMOVEDIR = 0x200, SIGCHLD = 17, DETACH = 2 };
enum { NOSUID = 2, NODEV = 4, NOEXEC = 8, REC = 0x4000, SLAVE = 1 << 19 };
enum { CHARACTER = 0020666 };

#if defined(__x86_64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r)
		: "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return r;
}
__asm__(".globl _start\n"
	"_start:	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call begin\n"
	/* spawn(flags, stack, run): the child calls run on a stack of its own and never returns. */
	"spawn:	mov %rdx, %r9\n"
	"	xor %edx, %edx\n"
	"	xor %r10d, %r10d\n"
	"	xor %r8d, %r8d\n"
	"	mov $56, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jnz 1f\n"
	"	call *%r9\n"
	"1:	ret\n");
#elif defined(__aarch64__)
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
__asm__(".globl _start\n"
	"_start:	mov x29, #0\n"
	"	mov x0, sp\n"
	"	bl begin\n"
	"spawn:	mov x9, x2\n"
	"	mov x2, #0\n"
	"	mov x3, #0\n"
	"	mov x4, #0\n"
	"	mov x8, #220\n"
	"	svc #0\n"
	"	cbnz x0, 1f\n"
	"	blr x9\n"
	"1:	ret\n");
#else
#error "this architecture has no entry point here"
#endif

#define CALL(n, ...) CALL_(__NR_##n, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(n, a, b, c, d, e, f, ...) \
	call6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

long spawn(long flags, void *stack, void (*run)(void));

static void leave(int status)
{
	for (;;)
		CALL(exit_group, status);
}

static void must(long result, int status)
{
	if (result < 0)
		leave(status);
}

/* What the child finds in the memory that it shares with its parent. */
static char upper[512], work[512], inner[512], root[512], overlay[2048];
static char **argv, **envp;
static char stack[16384] __attribute__((aligned(16)));

/* fits says that a path leaves room for what is appended to it. */
static int fits(const char *path)
{
	int n = 0;
	while (path[n])
		n++;
	return n < 400;
}

/* add appends to a string and returns its end. */
static char *add(char *to, const char *s)
{
	while ((*to = *s++))
		to++;
	return to;
}

static void node(const char *name, int major, int minor)
{
	must(CALL(mknodat, AT_FDCWD, name, CHARACTER, major << 8 | minor), 106);
}

static void devices(void)
{
	must(CALL(mount, "tmpfs", "dev", "tmpfs", NOSUID | NOEXEC, "mode=755,size=64k"), 105);
	node("dev/null", 1, 3);
	node("dev/zero", 1, 5);
	node("dev/full", 1, 7);
	node("dev/random", 1, 8);
	node("dev/urandom", 1, 9);
	node("dev/tty", 5, 0);
	must(CALL(mkdirat, AT_FDCWD, "dev/pts", 0755), 107);
	must(CALL(mount, "devpts", "dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), 108);
	CALL(symlinkat, "pts/ptmx", AT_FDCWD, "dev/ptmx");
	CALL(symlinkat, "/proc/self/fd", AT_FDCWD, "dev/fd");
	CALL(symlinkat, "/proc/self/fd/0", AT_FDCWD, "dev/stdin");
	CALL(symlinkat, "/proc/self/fd/1", AT_FDCWD, "dev/stdout");
	CALL(symlinkat, "/proc/self/fd/2", AT_FDCWD, "dev/stderr");
}

static void child(void)
{
	must(CALL(mount, 0, "/", 0, REC | SLAVE, 0), 101);
	must(CALL(mount, "overlay", root, "overlay", 0, overlay), 102);
	must(CALL(chdir, root), 103);
	must(CALL(mount, "proc", "proc", "proc", NOSUID | NODEV | NOEXEC, 0), 104);
	devices();
	must(CALL(pivot_root, ".", "."), 109);
	must(CALL(umount2, ".", DETACH), 110);
	must(CALL(chdir, "/"), 111);
	must(CALL(sethostname, "floor", 5), 112);
	CALL(execve, argv[0], argv, envp);
	leave(127);
}

static void make(const char *dir)
{
	must(CALL(mkdirat, AT_FDCWD, dir, 0755), 113);
}

static void gone(const char *dir)
{
	CALL(unlinkat, AT_FDCWD, dir, AT_REMOVEDIR);
}

/* prepare makes the overlay's directories: STATE/u, STATE/w, STATE/r. */
static void prepare(const char *lower, const char *state)
{
	char *end;
	add(add(upper, state), "/u");
	add(add(work, state), "/w");
	add(add(inner, work), "/work");
	add(add(root, state), "/r");
	make(upper);
	make(work);
	make(root);
	end = add(add(overlay, "lowerdir="), lower);
	end = add(add(end, ",upperdir="), upper);
	/* volatile: nobody wants the upper layer, so the unmount needs not sync the file system. */
	add(add(add(end, ",workdir="), work), ",volatile");
}

/* clear removes them, with what overlayfs and its mark for volatile have left in STATE/w. */
static void clear(void)
{
	char name[600];
	add(add(name, inner), "/incompat/volatile/dirty");
	CALL(unlinkat, AT_FDCWD, name, 0);
	add(add(name, inner), "/incompat/volatile");
	gone(name);
	add(add(name, inner), "/incompat");
	gone(name);
	gone(inner);
	gone(work);
	gone(upper);
	gone(root);
}

__attribute__((used)) void begin(long *sp)
{
	long argc = sp[0], pid, status = 0;
	char **args = (char **)(sp + 1);
	if (argc < 4 || !fits(args[1]) || !fits(args[2]))
		leave(100);
	argv = args + 3;
	envp = args + argc + 1;
	prepare(args[1], args[2]);
	pid = spawn(CLONE_VM | CLONE_VFORK | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD,
		stack + sizeof stack, child);
	must(pid, 114);
	must(CALL(wait4, pid, &status, 0, 0), 115);
	clear();
	leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}
