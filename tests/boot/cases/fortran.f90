! SPDX-License-Identifier: GPL-2.0
! Arrays, files, and an internal procedure as an argument; two arguments: a backtrace.
module m
contains
  subroutine apply(f, x)
    interface
      real(8) function f(y)
        real(8), intent(in) :: y
      end function
    end interface
    real(8), intent(in) :: x
    print *, 'internal procedure passed as argument', f(x)
  end subroutine
  subroutine host(k)
    real(8), intent(in) :: k
    call apply(inner, 2.0d0)
  contains
    real(8) function inner(y)
      real(8), intent(in) :: y
      inner = y*k
    end function
  end subroutine
end module
program t
  use m
  use, intrinsic :: iso_fortran_env
  implicit none
  integer, parameter :: n=120
  real(real64) :: a(n,n), b(n,n), c(n,n)
  integer :: i, ios, na
  character(len=80) :: line
  call random_seed()
  call random_number(a); call random_number(b)
  c = matmul(a,b)
  print *, 'ok', sum(c) > 0
  open(unit=10,file='/tmp/x.txt',status='replace')
  do i=1,5
    write(10,'(A,I4,F8.3)') 'line', i, sqrt(real(i))
  end do
  rewind(10)
  do
    read(10,'(A)',iostat=ios) line
    if (ios/=0) exit
    print *, trim(line)
  end do
  close(10,status='delete')
  if (command_argument_count() > 1) call backtrace()
  na = command_argument_count()
  if (na > 0) call host(3.0d0)
end program
