"""URLs of judges, below ``/t/<team>/judges/``."""

from django.urls import path

from webapp.judges import views

app_name = "judges"
urlpatterns = [
    path("", views.endpoint_list, name="list"),
    path("new/", views.new, name="new"),
    path("<str:uid>/", views.edit, name="edit"),
    path("<str:uid>/check/", views.check, name="check"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("cards/<str:version>/", views.card, name="card"),
    path("cards/<str:version>/make/", views.make_card, name="make_card"),
    path("labels/start/<str:grader>/", views.start_labelling, name="start"),
    path("labels/<str:uid>/", views.label, name="label"),
]
