/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Maps a part of a host's file. Where the host refuses it, as it does to map as executable what is on a file system mounted noexec, nothing is lost: this kernel
 * brings the pages then. With ptrace, fd is a socket from which the file comes.
 */
static __always_inline void map_file(struct stub_syscall *sc, int *fd_map)
{
	char byte;
	union {
		char data[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctrl = {};
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &ctrl,
		.msg_controllen = sizeof(ctrl),
	};
	int fd = -1;

	if (fd_map)
		fd = fd_map[sc->mem.fd];
	else if (sc->mem.fd >= 0 &&
		 stub_syscall3(__NR_recvmsg, sc->mem.fd, (unsigned long)&msg, MSG_DONTWAIT) == 1 &&
		 msg.msg_controllen >= CMSG_LEN(sizeof(int)))
		fd = *(int *)CMSG_DATA(&ctrl.align);
	if (fd < 0)
		return;
	stub_syscall6(STUB_MMAP_NR, sc->mem.addr, sc->mem.length, sc->mem.prot,
		      MAP_PRIVATE | MAP_FIXED, fd, sc->mem.offset);
	if (!fd_map)
		stub_syscall1(__NR_close, fd);
}
