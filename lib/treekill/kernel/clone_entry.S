/* long treekill_clone3_entry(struct clone_args *arguments, size_t size,
 *                            void (*run)(void *), void *argument)
 * long treekill_clone_entry(unsigned long flags, void *stack_end, int *pidfd,
 *                           void *child_tid, void (*run)(void *),
 *                           void *argument)
 *
 * The second is for where clone3 is not to be had; it passes the same to
 * clone(2), the arguments of which differ by architecture. With CLONE_VM the child starts on a stack of its own, on which there is
 * nothing to return to: neither syscall(2) nor any C code can make this call.
 * run() does not return; the trap says so.
 */
	.text
	.globl	treekill_clone3_entry
	.hidden	treekill_clone3_entry
#if defined(__x86_64__)
	.type	treekill_clone3_entry, @function
treekill_clone3_entry:
	.cfi_startproc
	endbr64
	/* The kernel overwrites rcx and r11, and keeps rdx and r8. */
	movq	%rcx, %r8
	movl	$435, %eax
	syscall
	testq	%rax, %rax
	jnz	1f
	.cfi_remember_state
	.cfi_undefined rip
	xorl	%ebp, %ebp
	movq	%r8, %rdi
	callq	*%rdx
	ud2
	.cfi_restore_state
1:	ret
	.cfi_endproc
#elif defined(__aarch64__)
	.type	treekill_clone3_entry, %function
treekill_clone3_entry:
	.cfi_startproc
	hint	#34		/* bti c */
	mov	x8, #435
	svc	#0
	cbz	x0, 1f
	ret
1:	.cfi_undefined x30
	mov	x29, #0
	mov	x30, #0
	mov	x0, x3
	blr	x2
	brk	#1
	.cfi_endproc
#endif
	.size	treekill_clone3_entry, . - treekill_clone3_entry

	.globl	treekill_clone_entry
	.hidden	treekill_clone_entry
#if defined(__x86_64__)
	.type	treekill_clone_entry, @function
treekill_clone_entry:
	.cfi_startproc
	endbr64
	/* r8, kept for run, is where the kernel would look for a TLS. */
	movq	%rcx, %r10
	movl	$56, %eax
	syscall
	testq	%rax, %rax
	jnz	1f
	.cfi_remember_state
	.cfi_undefined rip
	xorl	%ebp, %ebp
	movq	%r9, %rdi
	callq	*%r8
	ud2
	.cfi_restore_state
1:	ret
	.cfi_endproc
#elif defined(__aarch64__)
	.type	treekill_clone_entry, %function
treekill_clone_entry:
	.cfi_startproc
	hint	#34		/* bti c */
	mov	x6, x4
	mov	x4, x3
	mov	x3, #0
	mov	x8, #220
	svc	#0
	cbz	x0, 1f
	ret
1:	.cfi_undefined x30
	mov	x29, #0
	mov	x30, #0
	mov	x0, x5
	blr	x6
	brk	#1
	.cfi_endproc
#endif
	.size	treekill_clone_entry, . - treekill_clone_entry
	.section .note.GNU-stack, "", %progbits
